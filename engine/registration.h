/* registration.h: one registration, as a HOOK frame, KEYMISS.REGISTRATION and the RDB spell it (docs/channel.md). Pure.
 *
 * A registration does not change once it is made. It is shared by counting references: the table holds one, and so does
 * every event that waits to be given to it. */
#ifndef KEYMISS_REGISTRATION_H
#define KEYMISS_REGISTRATION_H

#include <stdbool.h>
#include <stddef.h>

#include "resp.h"

typedef enum registration_kind {
    REGISTRATION_KEYS,
    REGISTRATION_STREAM,
    REGISTRATION_HOOK,
    REGISTRATION_OTHER, /* triggers and what only the worker knows: kept, saved and replicated for it */
    REGISTRATION_GONE   /* what a removed one leaves in a cluster, for shards that were away: nothing fires it */
} registration_kind;

typedef enum registration_mode { MODE_ASYNC, MODE_ASYNC_LOCAL, MODE_SYNC } registration_mode;

enum {
    REGISTRATION_MAX_ID_BYTES = 1024,
    REGISTRATION_MAX_PREFIX_BYTES = 64 * 1024, /* far above any key in use */
    REGISTRATION_MAX_NAMES = 4096,             /* events, types or commands */
    REGISTRATION_MAX_NAME_BYTES = 256
};

typedef struct name_list { /* points into what it lists */
    const slice *items;
    size_t count;
} name_list;

typedef struct registration {
    size_t references;
    unsigned long long order; /* of registering: who came first fires first; set by the table */
    bool removed;             /* no longer in the table: what still waits for it is dropped */
    registration_kind kind;
    registration_mode mode;
    bool single_flight, wants_value, paused;
    bool unanswered; /* its event that ended last was lost with the worker or to its deadline */
    slice id, prefix;
    name_list events, types, commands; /* events and commands are made lower case; types are as TYPE spells them */
    slice *parts;                         /* all of it, in the order of the frame */
    size_t parts_count;
    char *bytes; /* what every slice above points into */
} registration;

/* Makes one from `<id> <blob> <kind> ... <command>*`. Returns NULL with *error set to a whole static error. */
registration *registration_parse(const slice *parts, size_t count, const char **error);

registration *registration_hold(registration *r);
void registration_release(registration *r); /* NULL is fine */

bool name_list_has(const name_list *list, const char *text, size_t len);

/* Whether the kind and the events listed ask for this event. None listed: all events, for a stream those that add to it. */
bool registration_wants_event(const registration *r, const char *event, size_t len);

/* `type` as TYPE says, "empty" where there is no key. "module" lists all types of modules. None listed: all types, for a
 * stream only stream. */
bool registration_wants_type(const registration *r, const char *type);

#endif
