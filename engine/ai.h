/* ai.h: the AI.* commands. Syntax and reply stand at each handler. */
#ifndef KEYMISS_AI_H
#define KEYMISS_AI_H

#include "redis_api.h"

int ai_tensorset(RedisModuleCtx *ctx, RedisModuleString **argv, int argc); /* ai_tensor.c */
int ai_tensorget(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
int ai_modelstore(RedisModuleCtx *ctx, RedisModuleString **argv, int argc); /* ai_model.c */
int ai_modelset(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
int ai_modelget(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
int ai_modeldel(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
int ai_modelscan(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
int ai_modelexecute(RedisModuleCtx *ctx, RedisModuleString **argv, int argc); /* ai_run.c */
int ai_modelrun(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
int ai_scriptstore(RedisModuleCtx *ctx, RedisModuleString **argv, int argc); /* ai_script.c */
int ai_scriptset(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
int ai_scriptget(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
int ai_scriptdel(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
int ai_scriptscan(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
int ai_scriptexecute(RedisModuleCtx *ctx, RedisModuleString **argv, int argc); /* ai_script_run.c */
int ai_scriptrun(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
int ai_dagexecute(RedisModuleCtx *ctx, RedisModuleString **argv, int argc); /* ai_dag.c */
int ai_dagexecute_ro(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
int ai_dagrun(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
int ai_dagrun_ro(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
int ai_info(RedisModuleCtx *ctx, RedisModuleString **argv, int argc); /* ai_info.c */
int ai_config(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);

/* Of tensors, models and scripts in RDB and DUMP. The original's are 0 to 4: ours is told from them, so that a dump of the one
 * is never misread by the other. */
enum { AI_RDB_ENCODING = 100 };
/* Whose commands these are, for clients that ask before they use them. */
#define AI_COMPATIBLE_VERSION "1.2.7"
#define AI_COMPATIBLE_LOW_LEVEL_API "1.0"

/* The types, the blobs and what the commands hold. REDISMODULE_ERR if the server refuses a type. */
int ai_init(RedisModuleCtx *ctx);

#endif
