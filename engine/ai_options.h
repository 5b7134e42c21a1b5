/* ai_options.h: what RedisAI took behind its name in a loadmodule line, so that such lines keep working. */
#ifndef KEYMISS_AI_OPTIONS_H
#define KEYMISS_AI_OPTIONS_H

#include "redis_api.h"
#include "resp.h"

typedef struct ai_options_values {
    long long threads_per_queue;          /* no effect: a device runs one batch after the other */
    long long inter_op_parallelism;       /* no effect */
    long long intra_op_parallelism;       /* keymiss.models-threads */
    long long model_execution_timeout_ms; /* keymiss.job-timeout-ms */
    long long backend_memory_limit_mb;    /* no effect; 0: none */
    long long model_chunk_size;           /* bytes: keymiss.model-chunk-size; 0: not given */
    char *backends_path;                  /* no effect: a backend is a module of the models worker; NULL: not given */
} ai_options_values;

extern ai_options_values ai_options;

/* Reads <name> <value> pairs into ai_options. REDISMODULE_ERR, with a line in the log, if one makes no sense. */
int ai_options_read(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
/* Gives those that there is a setting for to the settings, where the configuration file says nothing else. */
int ai_options_init(RedisModuleCtx *ctx);

/* Takes a copy. */
void ai_options_set_backends_path(slice path);

#endif
