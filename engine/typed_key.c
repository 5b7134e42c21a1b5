#include "typed_key.h"

void *typed_key_value(RedisModuleCtx *ctx, RedisModuleString *name, const RedisModuleType *type, const char *empty,
                      const char **error) {
    RedisModuleKey *key = RedisModule_OpenKey(ctx, name, REDISMODULE_READ);
    void *value = NULL;
    if (RedisModule_ModuleTypeGetType(key) == type) value = RedisModule_ModuleTypeGetValue(key);
    else *error = RedisModule_KeyType(key) == REDISMODULE_KEYTYPE_EMPTY ? empty : REDISMODULE_ERRORMSG_WRONGTYPE;
    RedisModule_CloseKey(key);
    return value;
}

RedisModuleKey *typed_key_open(RedisModuleCtx *ctx, RedisModuleString *name, const RedisModuleType *type,
                               const char **error) {
    /* Opened for writing, because opening to read an empty key is a key-miss event. */
    RedisModuleKey *key = RedisModule_OpenKey(ctx, name, REDISMODULE_READ | REDISMODULE_WRITE);
    if (RedisModule_ModuleTypeGetType(key) == type || RedisModule_KeyType(key) == REDISMODULE_KEYTYPE_EMPTY) return key;
    RedisModule_CloseKey(key);
    *error = REDISMODULE_ERRORMSG_WRONGTYPE;
    return NULL;
}

const char *typed_key_check(RedisModuleCtx *ctx, RedisModuleString *name, const RedisModuleType *type) {
    const char *error = NULL;
    RedisModuleKey *key = typed_key_open(ctx, name, type, &error);
    if (key != NULL) RedisModule_CloseKey(key);
    return error;
}

RedisModuleKey *typed_key_open_to_set(RedisModuleCtx *ctx, RedisModuleString *name) {
    return RedisModule_OpenKey(ctx, name, REDISMODULE_READ | REDISMODULE_WRITE);
}

void typed_key_close_changed(RedisModuleCtx *ctx, RedisModuleKey *key, RedisModuleString *name) {
    RedisModule_CloseKey(key);
    RedisModule_SignalModifiedKey(ctx, name);
}

void typed_key_set(RedisModuleCtx *ctx, RedisModuleKey *key, RedisModuleString *name, RedisModuleType *type, void *value) {
    RedisModule_ModuleTypeSetValue(key, type, value);
    typed_key_close_changed(ctx, key, name);
}
