/* tensor_type.h: tensors as values of keys (AI_TENSOR): RDB, AOF, DUMP, COPY, MEMORY USAGE, replication.
 *
 * COPY shares a tensor; one that is shared never changes (tensor.h): what is stored over it is another one. */
#ifndef KEYMISS_TENSOR_TYPE_H
#define KEYMISS_TENSOR_TYPE_H

#include "redis_api.h"
#include "tensor.h"

int tensor_type_init(RedisModuleCtx *ctx); /* REDISMODULE_ERR if the server refuses the type */

/* The tensor at a key, good until the key is written to or the command ends; tensor_hold it to keep it longer.
 * NULL with *error set when there is none. */
tensor *tensor_at(RedisModuleCtx *ctx, RedisModuleString *name, const char **error);

/* NULL where a tensor may be stored: the key is empty or holds one. Else the error. */
const char *tensor_check_key(RedisModuleCtx *ctx, RedisModuleString *name);
/* The same, with the key open for tensor_put or RedisModule_CloseKey; or NULL with *error set. */
RedisModuleKey *tensor_open(RedisModuleCtx *ctx, RedisModuleString *name, const char **error);
/* The tensor that may be changed there, or replaced, without more ado: no time to live has to go. NULL: none. */
tensor *tensor_in_place(RedisModuleKey *key);
/* Store another tensor there and close the key; takes the caller's reference over. Does not replicate. */
void tensor_put(RedisModuleCtx *ctx, RedisModuleKey *key, RedisModuleString *name, tensor *t);
/* Store a tensor at a key that tensor_check_key finds good, and tell replicas and the AOF with an AI.TENSORSET. */
void tensor_store_and_replicate(RedisModuleCtx *ctx, RedisModuleString *name, tensor *t);

/* Tensors that keys hold and their bytes on the heap. */
void tensor_type_totals(long long *tensors, long long *bytes);

#endif
