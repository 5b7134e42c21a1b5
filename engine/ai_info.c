/* ai_info.c: AI.INFO and AI.CONFIG. */
#include <stdio.h>
#include <string.h>

#include "ai.h"
#include "ai_command.h"
#include "ai_options.h"
#include "ai_report.h"
#include "model_type.h"
#include "settings.h"

static const char RUN_INFO_MISSING[] = "ERR cannot find run info for key";

static void reply_text(RedisModuleCtx *ctx, const char *name, slice value) {
    RedisModule_ReplyWithCString(ctx, name);
    RedisModule_ReplyWithStringBuffer(ctx, value.data, value.len);
}

static void reply_number(RedisModuleCtx *ctx, const char *name, long long value) {
    RedisModule_ReplyWithCString(ctx, name);
    RedisModule_ReplyWithLongLong(ctx, value);
}

static int reply_model_info(RedisModuleCtx *ctx, RedisModuleString *key, const model *m) {
    const char *backend = model_backend_name(m->backend);
    RedisModule_ReplyWithArray(ctx, 18);
    reply_text(ctx, "key", ai_slice(key));
    reply_text(ctx, "type", (slice){"MODEL", 5});
    reply_text(ctx, "backend", (slice){backend, strlen(backend)});
    reply_text(ctx, "device", model_device(m));
    reply_text(ctx, "tag", model_tag(m));
    reply_number(ctx, "duration", m->counters.duration_us);
    reply_number(ctx, "samples", m->counters.samples);
    reply_number(ctx, "calls", m->counters.calls);
    reply_number(ctx, "errors", m->counters.errors);
    return REDISMODULE_OK;
}

static void reply_version(RedisModuleCtx *ctx, const char *name, const char *version) {
    reply_text(ctx, name, (slice){version, strlen(version)});
}

static int reply_versions(RedisModuleCtx *ctx) {
    char encoding[16];
    slice tensorflow = ai_report_backend_version("TF"), onnx = ai_report_backend_version("ONNX");
    snprintf(encoding, sizeof encoding, "%d", AI_RDB_ENCODING);
    RedisModule_ReplyWithArray(ctx, 6 + 2 * ((tensorflow.data != NULL) + (onnx.data != NULL)));
    reply_version(ctx, "Version", AI_COMPATIBLE_VERSION);
    reply_version(ctx, "Low level API Version", AI_COMPATIBLE_LOW_LEVEL_API);
    reply_version(ctx, "RDB Encoding version", encoding);
    if (tensorflow.data != NULL) reply_text(ctx, "TensorFlow version", tensorflow);
    if (onnx.data != NULL) reply_text(ctx, "ONNX version", onnx);
    return REDISMODULE_OK;
}

/* AI.INFO [key [RESETSTAT]]: names and values: what the model is, and its counters since it was stored or they were
 * reset: duration in microseconds, samples (rows of the first input), calls, errors. With RESETSTAT: OK, and they
 * start again at 0. Without key: whose commands these are. */
int ai_info(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    const char *error;
    if (argc > 3) return RedisModule_WrongArity(ctx);
    if (argc == 1) return reply_versions(ctx);
    model *m = model_at(ctx, argv[1], &error);
    if (m == NULL) return RedisModule_ReplyWithError(ctx, RUN_INFO_MISSING);
    if (argc == 2 || !slice_is_word(ai_slice(argv[2]), "RESETSTAT")) return reply_model_info(ctx, argv[1], m);
    m->counters = (run_counters){0};
    return RedisModule_ReplyWithSimpleString(ctx, "OK");
}

static int config_get(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    if (argc != 3) return RedisModule_WrongArity(ctx);
    slice name = ai_slice(argv[2]);
    if (slice_is_word(name, "MODEL_CHUNK_SIZE")) return RedisModule_ReplyWithLongLong(ctx, settings.model_chunk_size);
    if (slice_is_word(name, "BACKENDSPATH"))
        return RedisModule_ReplyWithCString(ctx, ai_options.backends_path == NULL ? "" : ai_options.backends_path);
    return RedisModule_ReplyWithNull(ctx);
}

static int config_chunk_size(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    long long bytes;
    if (argc < 3) return RedisModule_ReplyWithError(ctx, "ERR MODEL_CHUNK_SIZE: missing chunk size");
    slice value = ai_slice(argv[2]);
    if (!slice_number(value, &bytes) || bytes <= 0 ||
        settings_set(ctx, "model-chunk-size", value.data) != REDISMODULE_OK)
        return RedisModule_ReplyWithError(ctx, "ERR MODEL_CHUNK_SIZE: invalid chunk size");
    return RedisModule_ReplyWithSimpleString(ctx, "OK");
}

static int config_backends_path(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    if (argc < 3) return RedisModule_ReplyWithError(ctx, "ERR BACKENDSPATH: missing path argument");
    ai_options_set_backends_path(ai_slice(argv[2]));
    return RedisModule_ReplyWithSimpleString(ctx, "OK");
}

static int config_load_backend(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    model_backend backend;
    if (argc < 4) return RedisModule_WrongArity(ctx);
    bool known = model_backend_parse(ai_slice(argv[2]), &backend);
    return RedisModule_ReplyWithError(ctx, known ? "ERR error loading backend" : "ERR unsupported backend");
}

/* AI.CONFIG GET name: the value, or nil of a name that is not known. AI.CONFIG MODEL_CHUNK_SIZE bytes, the setting
 * keymiss.model-chunk-size; AI.CONFIG BACKENDSPATH path: OK, no effect. AI.CONFIG LOADBACKEND backend path: an
 * error, since there is nothing to load. */
int ai_config(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    if (argc < 2) return RedisModule_WrongArity(ctx);
    slice word = ai_slice(argv[1]);
    if (slice_is_word(word, "GET")) return config_get(ctx, argv, argc);
    if (slice_is_word(word, "MODEL_CHUNK_SIZE")) return config_chunk_size(ctx, argv, argc);
    if (slice_is_word(word, "BACKENDSPATH")) return config_backends_path(ctx, argv, argc);
    if (slice_is_word(word, "LOADBACKEND")) return config_load_backend(ctx, argv, argc);
    return RedisModule_ReplyWithError(ctx, "ERR unsupported subcommand");
}
