/* script_type.h: scripts as values of keys (AI_SCRIPT): RDB, AOF, DUMP, COPY, MEMORY USAGE, replication. */
#ifndef KEYMISS_SCRIPT_TYPE_H
#define KEYMISS_SCRIPT_TYPE_H

#include "redis_api.h"
#include "script.h"

int script_type_init(RedisModuleCtx *ctx); /* REDISMODULE_ERR if the server refuses the type */

/* The script at a key, good until the key is written to or the command ends. NULL with *error set when there is none. */
script *script_at(RedisModuleCtx *ctx, RedisModuleString *name, const char **error);
/* NULL where a script may be stored: the key is empty or holds one. Else the error. */
const char *script_check_key(RedisModuleCtx *ctx, RedisModuleString *name);
/* Store a script at such a key, and tell replicas and the AOF with an AI.SCRIPTSTORE; takes the caller's reference over. */
void script_store_and_replicate(RedisModuleCtx *ctx, RedisModuleString *name, script *s);

extern stored_values stored_scripts;

#endif
