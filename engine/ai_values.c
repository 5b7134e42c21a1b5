#include "ai_values.h"

#include "typed_key.h"
#include "users.h"

int ai_values_delete(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, const stored_values *all) {
    const char *error = all->empty;
    if (argc != 2) return RedisModule_WrongArity(ctx);
    RedisModuleKey *key = typed_key_open(ctx, argv[1], all->type, &error);
    if (key == NULL || RedisModule_KeyType(key) == REDISMODULE_KEYTYPE_EMPTY) {
        RedisModule_CloseKey(key);
        return RedisModule_ReplyWithError(ctx, error);
    }
    RedisModule_DeleteKey(key);
    typed_key_close_changed(ctx, key, argv[1]);
    RedisModule_ReplicateVerbatim(ctx);
    return RedisModule_ReplyWithSimpleString(ctx, "OK");
}

typedef struct scan {
    slice (*tag)(const void *value);
    RedisModuleUser *user; /* NULL: may see all */
    long count;
} scan;

static void reply_value(RedisModuleCtx *ctx, RedisModuleString *key, const void *value, void *arg) {
    scan *s = arg;
    slice tag = s->tag(value);
    if (s->user && RedisModule_ACLCheckKeyPermissions(s->user, key, REDISMODULE_CMD_KEY_ACCESS) != REDISMODULE_OK) return;
    s->count++;
    RedisModule_ReplyWithArray(ctx, 2);
    RedisModule_ReplyWithString(ctx, key);
    RedisModule_ReplyWithStringBuffer(ctx, tag.data, tag.len);
}

int ai_values_scan(RedisModuleCtx *ctx, int argc, stored_values *all, slice (*tag)(const void *value)) {
    scan s = {.tag = tag};
    if (argc != 1) return RedisModule_WrongArity(ctx);
    /* A tag is a part of the value: who may not read the key must not see it. */
    RedisModuleString *name = users_current_name(ctx);
    if (name) s.user = RedisModule_GetModuleUserFromUserName(name);
    RedisModule_ReplyWithArray(ctx, REDISMODULE_POSTPONED_LEN);
    stored_values_each(ctx, all, reply_value, &s);
    RedisModule_ReplySetArrayLength(ctx, s.count);
    users_close(s.user);
    if (name) RedisModule_FreeString(NULL, name);
    return REDISMODULE_OK;
}
