/* users.h: the user on whose behalf something runs. */
#ifndef KEYMISS_USERS_H
#define KEYMISS_USERS_H

#include "redis_api.h"

#define USERS_NO_PERMISSION "NOPERM this user has no permissions to run this command or to access one of its keys"

/* The name of the current command's user, for the caller to free. NULL where there is none, so that nothing is denied:
 * the command is the master's, or is run by a module. */
RedisModuleString *users_current_name(RedisModuleCtx *ctx);

/* The user of that name, for RedisModule_SetContextUser and users_close; *out is NULL where the name is. Returns NULL, or
 * why nothing can be done as that user. */
const char *users_open(RedisModuleString *name, RedisModuleUser **out);
void users_close(RedisModuleUser *user); /* NULL is fine */

/* Was a call with "CE" denied, in the server's own words for an internal error, that is? errno: as the call left it. */
bool users_denied(RedisModuleCallReply *reply);

#endif
