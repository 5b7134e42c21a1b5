/* hooked_commands.h: the commands that registrations name, looked up for every command the server runs. Pure.
 *
 * A look-up costs one pass over the name and, for a command that is not hooked, nearly always nothing more. */
#ifndef KEYMISS_HOOKED_COMMANDS_H
#define KEYMISS_HOOKED_COMMANDS_H

#include "prefix.h"
#include "registration.h"

typedef struct hooked_command {
    slice name;             /* lower case; points into a registration of `registrations` */
    unsigned long hash;
    bool known;             /* the server has such a command: only then it can be hooked */
    bool writes;            /* it is flagged write */
    int arity;              /* with its name; negative: at least so many */
    prefix_table *patterns; /* of the keys that registrations want, values are registrations */
    registration **registrations; /* in the order of registering */
    size_t registrations_count;
    struct hooked_command *next; /* in its bucket */
} hooked_command;

/* How many commands are hooked: where it is 0 there is nothing to look up. */
extern size_t hooked_commands_count;

/* Of any case. NULL: not hooked. */
hooked_command *hooked_commands_find(const char *name, size_t len);

/* Enter or take out a registration under each command that it names. `describe` is asked about new commands. */
typedef void (*hooked_commands_describe)(hooked_command *command);
void hooked_commands_add(registration *r, hooked_commands_describe describe);
void hooked_commands_remove(registration *r);

/* Ask again about commands that were not known (a module may have brought them meanwhile). */
void hooked_commands_refresh(hooked_commands_describe describe);

#endif
