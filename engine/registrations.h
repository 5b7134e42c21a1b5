/* registrations.h: the table of registrations: who wants which events and commands.
 *
 * It is the same on master and replicas (KEYMISS.REGISTRATION, replicated), in the AOF and in the RDB, and the functions
 * worker is told of every change that did not come from it. */
#ifndef KEYMISS_REGISTRATIONS_H
#define KEYMISS_REGISTRATIONS_H

#include "hooked_commands.h"
#include "redis_api.h"

enum { REGISTRATIONS_MAX = 10000 }; /* a bound for what an RDB may claim; a busy deployment has dozens */

int registrations_init(RedisModuleCtx *ctx);
int registrations_listen(RedisModuleCtx *ctx); /* to the server's events */

/* Registrations that wait for keyspace events: where it is 0 there is nothing to match. */
extern size_t registrations_of_events;

/* Called once, when the first of them comes. */
void registrations_on_first_event_wanted(void (*wanted)(RedisModuleCtx *ctx));

/* Those whose prefix matches the key, in the order of registering. Valid until the table changes. */
typedef struct registration_list {
    registration **items;
    size_t count;
} registration_list;
registration_list registrations_matching(const char *key, size_t len);

#endif
