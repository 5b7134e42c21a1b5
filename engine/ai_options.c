/* ai_options.c: see ai_options.h. */
#include "ai_options.h"

#include <stdio.h>
#include <string.h>

#include "ai_args.h"
#include "ai_command.h"
#include "memory.h"
#include "settings.h"

enum { THREADS_MAX = 1024, CHUNK_MAX = 511 << 20, MEMORY_MAX_MB = 1 << 30 };

/* What RedisAI does where nothing is said. */
ai_options_values ai_options = {.threads_per_queue = 1, .model_execution_timeout_ms = 5000};

static const struct {
    const char *name;
    long long *value;
    long long min, max;
    const char *setting; /* NULL: no effect */
} numbers[] = {
    {"THREADS_PER_QUEUE", &ai_options.threads_per_queue, 1, THREADS_MAX, NULL},
    {"INTER_OP_PARALLELISM", &ai_options.inter_op_parallelism, 0, THREADS_MAX, NULL},
    {"INTRA_OP_PARALLELISM", &ai_options.intra_op_parallelism, 0, THREADS_MAX, "models-threads"},
    {"MODEL_EXECUTION_TIMEOUT", &ai_options.model_execution_timeout_ms, 1, 24 * 3600 * 1000, "job-timeout-ms"},
    {"BACKEND_MEMORY_LIMIT", &ai_options.backend_memory_limit_mb, 0, MEMORY_MAX_MB, NULL},
    {"MODEL_CHUNK_SIZE", &ai_options.model_chunk_size, 1, CHUNK_MAX, "model-chunk-size"},
};
enum { NUMBERS = sizeof(numbers) / sizeof(numbers[0]) };
static bool given[NUMBERS];

void ai_options_set_backends_path(slice path) {
    memory.free(ai_options.backends_path);
    ai_options.backends_path = memory.alloc(path.len + 1);
    memcpy(ai_options.backends_path, path.data, path.len);
    ai_options.backends_path[path.len] = '\0';
}

static int refuse(RedisModuleCtx *ctx, slice name, const char *why) {
    RedisModule_Log(ctx, REDISMODULE_LOGLEVEL_WARNING, "not loaded: the argument %.*s %s", (int)name.len, name.data, why);
    return REDISMODULE_ERR;
}

static int read_number(RedisModuleCtx *ctx, size_t i, slice name, slice value) {
    char why[80];
    long long number;
    if (!slice_number(value, &number) || number < numbers[i].min || number > numbers[i].max) {
        snprintf(why, sizeof(why), "must be a number from %lld to %lld", numbers[i].min, numbers[i].max);
        return refuse(ctx, name, why);
    }
    *numbers[i].value = number;
    given[i] = true;
    return REDISMODULE_OK;
}

static int read_option(RedisModuleCtx *ctx, slice name, slice value) {
    model_backend backend;
    for (size_t i = 0; i < NUMBERS; i++) {
        if (slice_is_word(name, numbers[i].name)) return read_number(ctx, i, name, value);
    }
    if (slice_is_word(name, "BACKENDSPATH")) {
        ai_options_set_backends_path(value);
    } else if (model_backend_parse(name, &backend)) {
        RedisModule_Log(ctx, REDISMODULE_LOGLEVEL_NOTICE, "%.*s %.*s has no effect: backends are installed with pip",
                        (int)name.len, name.data, (int)value.len, value.data);
    } else {
        return refuse(ctx, name,
                      "is not known; settings are keymiss.<name> <value> in the server's configuration, or CONFIG SET "
                      "keymiss.<name>");
    }
    return REDISMODULE_OK;
}

int ai_options_read(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    for (int i = 0; i < argc; i += 2) {
        slice name = ai_slice(argv[i]);
        if (i + 1 == argc) return refuse(ctx, name, "has no value");
        if (read_option(ctx, name, ai_slice(argv[i + 1])) != REDISMODULE_OK) return REDISMODULE_ERR;
    }
    return REDISMODULE_OK;
}

int ai_options_init(RedisModuleCtx *ctx) {
    for (size_t i = 0; i < NUMBERS; i++) {
        char value[24];
        if (!given[i] || !numbers[i].setting) continue;
        snprintf(value, sizeof(value), "%lld", *numbers[i].value);
        if (settings_suggest(ctx, numbers[i].setting, value) != REDISMODULE_OK) {
            return refuse(ctx, (slice){numbers[i].name, strlen(numbers[i].name)}, "was refused as a setting");
        }
    }
    return REDISMODULE_OK;
}
