#include "typed_key.h"

void *typed_key_value(RedisModuleCtx *ctx, RedisModuleString *name, const RedisModuleType *type, const char *empty,
                      const char **error) {
    RedisModuleKey *key = RedisModule_OpenKey(ctx, name, REDISMODULE_READ);
    void *value = NULL;
    if (RedisModule_KeyType(key) == REDISMODULE_KEYTYPE_EMPTY) *error = empty;
    else if (RedisModule_ModuleTypeGetType(key) != type) *error = REDISMODULE_ERRORMSG_WRONGTYPE;
    else value = RedisModule_ModuleTypeGetValue(key);
    RedisModule_CloseKey(key);
    return value;
}

const char *typed_key_check(RedisModuleCtx *ctx, RedisModuleString *name, const RedisModuleType *type) {
    /* Opened for writing, because opening to read an empty key is a key-miss event. */
    RedisModuleKey *key = RedisModule_OpenKey(ctx, name, REDISMODULE_READ | REDISMODULE_WRITE);
    bool fits = RedisModule_KeyType(key) == REDISMODULE_KEYTYPE_EMPTY || RedisModule_ModuleTypeGetType(key) == type;
    RedisModule_CloseKey(key);
    return fits ? NULL : REDISMODULE_ERRORMSG_WRONGTYPE;
}

void typed_key_set(RedisModuleCtx *ctx, RedisModuleString *name, RedisModuleType *type, void *value) {
    RedisModuleKey *key = RedisModule_OpenKey(ctx, name, REDISMODULE_READ | REDISMODULE_WRITE);
    RedisModule_ModuleTypeSetValue(key, type, value);
    RedisModule_CloseKey(key);
}

void typed_key_delete(RedisModuleCtx *ctx, RedisModuleString *name) {
    RedisModuleKey *key = RedisModule_OpenKey(ctx, name, REDISMODULE_READ | REDISMODULE_WRITE);
    RedisModule_DeleteKey(key);
    RedisModule_CloseKey(key);
}
