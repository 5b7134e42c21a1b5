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
int ai_info(RedisModuleCtx *ctx, RedisModuleString **argv, int argc); /* ai_info.c */
int ai_config(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);

/* The types, the blobs and what the commands hold. REDISMODULE_ERR if the server refuses a type. */
int ai_init(RedisModuleCtx *ctx);

#endif
