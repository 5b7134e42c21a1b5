/* role.h: whether this server is a replica, and who is to know when that changes. */
#ifndef KEYMISS_ROLE_H
#define KEYMISS_ROLE_H

#include "redis_api.h"

#include <stdbool.h>

int role_init(RedisModuleCtx *ctx);

bool role_is_replica(void);
/* By the flags of a context: it is one that takes writes of its master only. */
bool role_is_read_only_replica(int context_flags);

typedef void (*role_listener)(RedisModuleCtx *ctx, bool replica);
void role_on_change(role_listener listener);

#endif
