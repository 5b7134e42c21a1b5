#include "users.h"

#include <errno.h>
#include <string.h>

RedisModuleString *users_current_name(RedisModuleCtx *ctx) {
    /* Asking for a name that is not there crashes Redis 7.0; running a command as the user tells whether it is. This one is
     * denied to nobody: what is denied is in the ACL LOG. */
    errno = 0;
    RedisModuleCallReply *reply = RedisModule_Call(ctx, "HELLO", "CE");
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

static void log_denied(RedisModuleCtx *ctx, RedisModuleString *name, const char *command) {
    RedisModuleString *object = RedisModule_CreateString(NULL, command, strlen(command));
    RedisModuleUser *user = RedisModule_GetModuleUserFromUserName(name);
    if (user != NULL) RedisModule_ACLAddLogEntry(ctx, user, object, REDISMODULE_ACL_LOG_CMD);
    users_close(user);
    RedisModule_FreeString(NULL, object);
}

users_verdict users_may_run(RedisModuleCtx *ctx, RedisModuleString *name, const char *command, RedisModuleString **argv,
                            size_t argc) {
    /* Not RedisModule_ACLCheckCommandPermissions: it reads behind the arguments where they are too few. */
    RedisModuleCallReply *reply = RedisModule_Call(ctx, "ACL", "Ecscv", "DRYRUN", name, command, argv, argc);
    size_t len = 0;
    bool told = reply != NULL && RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_STRING;
    const char *text = told ? RedisModule_CallReplyStringPtr(reply, &len) : NULL;
    bool permitted = told && len == 2 && memcmp(text, "OK", 2) == 0; /* else it is said why */
    if (reply != NULL) RedisModule_FreeCallReply(reply);
    if (told && !permitted) log_denied(ctx, name, command);
    if (permitted) return USERS_MAY;
    return told ? USERS_MAY_NOT : USERS_RUNNING_FAILS;
}
