/* model_type.h: models as values of keys (AI__MODEL): RDB, AOF, DUMP, COPY, MEMORY USAGE, replication. */
#ifndef KEYMISS_MODEL_TYPE_H
#define KEYMISS_MODEL_TYPE_H

#include "model.h"
#include "redis_api.h"

int model_type_init(RedisModuleCtx *ctx); /* REDISMODULE_ERR if the server refuses the type */

/* The model at a key, good until the key is written to or the command ends. NULL with *error set when there is none. */
model *model_at(RedisModuleCtx *ctx, RedisModuleString *name, const char **error);
/* NULL where a model may be stored: the key is empty or holds one. Else the error. */
const char *model_check_key(RedisModuleCtx *ctx, RedisModuleString *name);
/* Store a model at such a key of this name, open (typed_key_open_to_set), and close it; takes the caller's reference over.
 * Does not replicate. */
void model_put(RedisModuleCtx *ctx, RedisModuleKey *key, RedisModuleString *name, model *m);

/* Log it where its bytes are in no file (blobs.h, rule 4). */
void model_tell_unwritten(const model *m);

/* The arguments of the AI.MODELSTORE that makes this model, up to where its bytes are told, with room for these two. With
 * the names of inputs and outputs, which only a command of ARGS_FROM_SERVER may give for every backend: so nobody has to
 * load the model to know them. For arguments_free (typed_io.h), as all here. */
size_t model_arguments(const model *m, const RedisModuleString *key, RedisModuleString ***out);
/* What follows where whoever hears the command has the bytes already, and where it has not: BLOB and these. */
size_t model_digest_arguments(const model *m, RedisModuleString **out);
size_t model_chunk_arguments(const model *m, RedisModuleString ***out);

/* Does a key of this shard hold a model with these bytes now? Then, at this place of their streams, one of every replica
 * and of the append-only file does. */
bool model_bytes_are_held(RedisModuleCtx *ctx, const blob *bytes);

/* Those that keys hold; their bytes are those of the blobs, one that several models share counted for each. */
extern stored_values stored_models;

#endif
