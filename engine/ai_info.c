/* ai_info.c: AI.INFO and AI.CONFIG. */
#include <stdio.h>
#include <string.h>

#include "ai.h"
#include "ai_command.h"
#include "ai_options.h"
#include "ai_report.h"
#include "model_type.h"
#include "script_type.h"
#include "settings.h"

static void reply_text(RedisModuleCtx *ctx, const char *name, slice value) {
    RedisModule_ReplyWithCString(ctx, name);
    RedisModule_ReplyWithStringBuffer(ctx, value.data, value.len);
}

static void reply_number(RedisModuleCtx *ctx, const char *name, long long value) {
    RedisModule_ReplyWithCString(ctx, name);
    RedisModule_ReplyWithLongLong(ctx, value);
}

/* What AI.INFO tells of a model or a script. */
typedef struct run_info {
    const char *type, *backend;
    slice device, tag;
    run_counters *counters;
    bool counts_samples;
} run_info;

static bool find_run_info(RedisModuleCtx *ctx, RedisModuleString *name, run_info *out) {
    /* Opened for writing, because opening to read an empty key is a key-miss event. */
    RedisModuleKey *key = RedisModule_OpenKey(ctx, name, REDISMODULE_READ | REDISMODULE_WRITE);
    const RedisModuleType *type = RedisModule_ModuleTypeGetType(key);
    void *value = type != NULL ? RedisModule_ModuleTypeGetValue(key) : NULL;
    RedisModule_CloseKey(key);
    if (value != NULL && type == stored_models.type) {
        model *m = value;
        *out = (run_info){"MODEL", model_backend_name(m->backend), model_device(m), model_tag(m), &m->counters, true};
        return true;
    }
    if (value != NULL && type == stored_scripts.type) {
        script *s = value;
        *out = (run_info){"SCRIPT", "TORCH", script_device(s), script_tag(s), &s->counters, false};
        return true;
    }
    return false;
}

static int reply_run_info(RedisModuleCtx *ctx, RedisModuleString *key, const run_info *info) {
    RedisModule_ReplyWithArray(ctx, 18);
    reply_text(ctx, "key", ai_slice(key));
    reply_text(ctx, "type", (slice){info->type, strlen(info->type)});
    reply_text(ctx, "backend", (slice){info->backend, strlen(info->backend)});
    reply_text(ctx, "device", info->device);
    reply_text(ctx, "tag", info->tag);
    reply_number(ctx, "duration", info->counters->duration_us);
    reply_number(ctx, "samples", info->counts_samples ? info->counters->samples : -1);
    reply_number(ctx, "calls", info->counters->calls);
    reply_number(ctx, "errors", info->counters->errors);
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

/* AI.INFO [key [RESETSTAT]]: names and values: what the model or script is, and its counters since it was stored or they
 * were reset: duration in microseconds, samples (rows of the first input; -1 of a script), calls, errors. With RESETSTAT:
 * OK, and they start again at 0. Without key: whose commands these are. */
int ai_info(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    run_info info;
    if (argc > 3) return RedisModule_WrongArity(ctx);
    if (argc == 1) return reply_versions(ctx);
    if (!find_run_info(ctx, argv[1], &info)) return RedisModule_ReplyWithError(ctx, "ERR cannot find run info for key");
    if (argc == 2 || !slice_is_word(ai_slice(argv[2]), "RESETSTAT")) return reply_run_info(ctx, argv[1], &info);
    *info.counters = (run_counters){0};
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

/* Is it the file, in whichever folder, that RedisAI had this backend in? */
static bool is_library_of(model_backend backend, slice path) {
    static const char *const LIBRARY[BACKENDS] = {
        [BACKEND_TORCH] = "redisai_torch.so",
        [BACKEND_ONNX] = "redisai_onnxruntime.so",
        [BACKEND_TF] = "redisai_tensorflow.so",
        [BACKEND_TFLITE] = "redisai_tflite.so",
    };
    const char *library = LIBRARY[backend];
    if (library == NULL) return false;
    size_t len = strlen(library);
    if (path.len < len || memcmp(path.data + path.len - len, library, len) != 0) return false;
    return path.len == len || path.data[path.len - len - 1] == '/';
}

static int config_load_backend(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    model_backend backend;
    if (argc < 4) return RedisModule_WrongArity(ctx);
    if (!model_backend_parse(ai_slice(argv[2]), &backend))
        return RedisModule_ReplyWithError(ctx, "ERR unsupported backend");
    if (!is_library_of(backend, ai_slice(argv[3])))
        return RedisModule_ReplyWithError(ctx, "ERR error loading backend");
    return RedisModule_ReplyWithSimpleString(ctx, "OK");
}

/* AI.CONFIG GET name: the value, or nil of a name that is not known. AI.CONFIG MODEL_CHUNK_SIZE bytes, the setting
 * keymiss.model-chunk-size; AI.CONFIG BACKENDSPATH path: OK, no effect. AI.CONFIG LOADBACKEND backend path: OK
 * where the path is that of RedisAI's own library, whose work a backend of ours does, loaded by the first model that
 * needs it; an error for any other, since it will not be loaded. */
int ai_config(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    if (argc < 2) return RedisModule_WrongArity(ctx);
    slice word = ai_slice(argv[1]);
    if (slice_is_word(word, "GET")) return config_get(ctx, argv, argc);
    if (slice_is_word(word, "MODEL_CHUNK_SIZE")) return config_chunk_size(ctx, argv, argc);
    if (slice_is_word(word, "BACKENDSPATH")) return config_backends_path(ctx, argv, argc);
    if (slice_is_word(word, "LOADBACKEND")) return config_load_backend(ctx, argv, argc);
    return RedisModule_ReplyWithError(ctx, "ERR unsupported subcommand");
}
