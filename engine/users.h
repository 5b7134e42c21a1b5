/* users.h: the user on whose behalf something runs. */
#ifndef KEYMISS_USERS_H
#define KEYMISS_USERS_H

#include "redis_api.h"

/* The name of the current command's user, for the caller to free. NULL where there is none, so that nothing is denied:
 * the command is the master's, or is run by a module. */
RedisModuleString *users_current_name(RedisModuleCtx *ctx);

#endif
