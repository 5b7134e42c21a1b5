/* typed_key.h: keys that hold a value of one of the module's types, or may. */
#ifndef KEYMISS_TYPED_KEY_H
#define KEYMISS_TYPED_KEY_H

#include "redis_api.h"

/* The value at a key, good until the key is written to or the command ends. NULL with *error set when there is none:
 * `empty`, or that it is of another type. */
void *typed_key_value(RedisModuleCtx *ctx, RedisModuleString *name, const RedisModuleType *type, const char *empty,
                      const char **error);
/* NULL where such a value may be stored: the key is empty or holds one. Else the error. */
const char *typed_key_check(RedisModuleCtx *ctx, RedisModuleString *name, const RedisModuleType *type);
/* The same, with the key open for writing; or NULL with *error set. */
RedisModuleKey *typed_key_open(RedisModuleCtx *ctx, RedisModuleString *name, const RedisModuleType *type,
                               const char **error);
/* Open such a key to store a value there. Before the value is replicated: what is out of time there is deleted now, and its
 * DEL would delete a value that went out before it. */
RedisModuleKey *typed_key_open_to_set(RedisModuleCtx *ctx, RedisModuleString *name);
/* Close a key whose value is another now: clients that watch it, or have it in their caches, are told. */
void typed_key_close_changed(RedisModuleCtx *ctx, RedisModuleKey *key, RedisModuleString *name);
/* Store a value there, which the key owns from now on, and close it. */
void typed_key_set(RedisModuleCtx *ctx, RedisModuleKey *key, RedisModuleString *name, RedisModuleType *type, void *value);

#endif
