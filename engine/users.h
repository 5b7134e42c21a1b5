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

/* May the user of that name run this command on these keys? If not, the server's ACL LOG says so. argv is what follows the
 * command. To be asked before RedisModule_Call with "C", which crashes Redis 7.0 where it has something to deny and no
 * client asked. */
typedef enum users_verdict {
    USERS_MAY,
    USERS_MAY_NOT,
    USERS_RUNNING_FAILS /* it is no command, or one of another number of arguments: who runs it is told */
} users_verdict;
users_verdict users_may_run(RedisModuleCtx *ctx, RedisModuleString *name, const char *command, RedisModuleString **argv,
                            size_t argc);

#endif
