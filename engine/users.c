#include "users.h"

#include <errno.h>
#include <string.h>

RedisModuleString *users_current_name(RedisModuleCtx *ctx) {
    /* Asking for a name that is not there crashes Redis 7.0; running a command as the user tells whether it is. */
    errno = 0;
    RedisModuleCallReply *reply = RedisModule_Call(ctx, "PING", "CE");
    bool found = errno != ENOTSUP;
    if (reply != NULL) RedisModule_FreeCallReply(reply);
    return found ? RedisModule_GetCurrentUserName(ctx) : NULL;
}

const char *users_open(RedisModuleString *name, RedisModuleUser **out) {
    *out = NULL;
    if (name == NULL) return NULL;
    if (RedisModule_SetContextUser == NULL) return "ERR commands cannot be run as a user here: that needs Redis 7.0.6";
    *out = RedisModule_GetModuleUserFromUserName(name);
    return *out != NULL ? NULL : "NOPERM the user who ran the script was deleted meanwhile";
}

void users_close(RedisModuleUser *user) {
    if (user != NULL) RedisModule_FreeModuleUser(user);
}

bool users_denied(RedisModuleCallReply *reply) {
    if (errno != EACCES || reply == NULL || RedisModule_CallReplyType(reply) != REDISMODULE_REPLY_ERROR) return false;
    size_t len;
    const char *text = RedisModule_CallReplyStringPtr(reply, &len);
    return !(len >= 6 && memcmp(text, "NOPERM", 6) == 0);
}
