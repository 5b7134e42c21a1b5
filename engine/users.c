#include "users.h"

#include <errno.h>

RedisModuleString *users_current_name(RedisModuleCtx *ctx) {
    /* Asking for a name that is not there crashes Redis 7.0; running a command as the user tells whether it is. */
    errno = 0;
    RedisModuleCallReply *reply = RedisModule_Call(ctx, "PING", "CE");
    bool found = errno != ENOTSUP;
    if (reply != NULL) RedisModule_FreeCallReply(reply);
    return found ? RedisModule_GetCurrentUserName(ctx) : NULL;
}
