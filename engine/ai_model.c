/* ai_model.c: AI.MODELSTORE, AI.MODELSET, AI.MODELGET, AI.MODELDEL and AI._MODELSCAN.
 *
 * Storing a model: its bytes become a blob at once; then the models worker is asked to load it (ai_store.h), and tells the
 * names of its inputs and outputs. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ai.h"
#include "ai_command.h"
#include "ai_store.h"
#include "ai_values.h"
#include "memory.h"
#include "model_type.h"
#include "settings.h"
#include "typed_io.h"

/* A model that is to be stored, and the chunks of the command that gave it, to replicate it with. */
typedef struct new_model {
    model *model;
    RedisModuleString **chunks;
    size_t chunk_count;
} new_model;

static new_model *new_model_new(model *m, RedisModuleString **chunks, size_t count) {
    new_model *n = memory.alloc(sizeof *n);
    *n = (new_model){.model = m, .chunks = memory.alloc(count * sizeof *n->chunks), .chunk_count = count};
    for (size_t i = 0; i < count; i++) n->chunks[i] = RedisModule_HoldString(NULL, chunks[i]);
    return n;
}

static void new_model_free(void *value) {
    new_model *n = value;
    model_release(n->model);
    arguments_free(n->chunks, n->chunk_count);
    memory.free(n);
}

/* <n> <name>*n at *at of a frame. */
static bool read_names(const frame *f, size_t *at, const slice **items, size_t *count) {
    long long n;
    if (*at >= f->count || !slice_number(f->parts[*at], &n) || n < 0) return false;
    if ((unsigned long long)n > f->count - ++*at) return false;
    *items = f->parts + *at;
    *count = (size_t)n;
    *at += *count;
    return true;
}

static bool new_model_read(void *value, const frame *done) {
    const slice *inputs, *outputs;
    size_t at = 1, input_count, output_count;
    if (!read_names(done, &at, &inputs, &input_count) || !read_names(done, &at, &outputs, &output_count) ||
        at != done->count)
        return false;
    model_set_names(((new_model *)value)->model, inputs, input_count, outputs, output_count);
    return true;
}

static void new_model_store(RedisModuleCtx *ctx, RedisModuleString *key, void *value) {
    const new_model *n = value;
    RedisModuleString **arguments;
    size_t count = model_arguments(n->model, key, &arguments);
    RedisModule_Replicate(ctx, "AI.MODELSTORE", "vv", arguments, count, n->chunks, n->chunk_count);
    arguments_free(arguments, count);
    model_store(ctx, key, model_hold(n->model));
}

static const store_kind MODEL_STORE = {JOB_LOAD, model_check_key, new_model_read, new_model_store, new_model_free};

/* Both commands, their arguments read: they point into args. */
static int store(RedisModuleCtx *ctx, RedisModuleString **argv, const ai_arguments *args, const model_args *parsed,
                 args_from from) {
    blob *bytes = blob_store(parsed->chunks, parsed->chunk_count);
    if (bytes == NULL) {
        char error[256];
        snprintf(error, sizeof error, "ERR cannot write the model to keymiss.models-dir: %s", strerror(errno));
        /* From the master or the AOF nobody reads the reply. */
        if (from == ARGS_FROM_SERVER) RedisModule_Log(ctx, REDISMODULE_LOGLEVEL_WARNING, "model lost: %s", error);
        return RedisModule_ReplyWithError(ctx, error);
    }
    model *m = model_new(parsed, bytes);
    if (from == ARGS_FROM_SERVER) {
        model_store(ctx, argv[1], m);
        RedisModule_ReplicateVerbatim(ctx);
        return RedisModule_ReplyWithSimpleString(ctx, "OK");
    }
    frame_writer body;
    frame_init(&body);
    frame_add_slice(&body, model_to_wire(m));
    RedisModuleString **chunks = argv + (parsed->chunks - args->all);
    return ai_store(ctx, &MODEL_STORE, argv[1], body, new_model_new(m, chunks, parsed->chunk_count));
}

/* AI.MODELSTORE key backend device [TAG tag] [BATCHSIZE n [MINBATCHSIZE n [MINBATCHTIMEOUT ms]]] [INPUTS n input
 * ... OUTPUTS n output ...] BLOB chunk ...: OK once the models worker has loaded it; its error, and nothing stored,
 * if it cannot. */
int ai_modelstore(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    ai_arguments args;
    model_args parsed;
    args_from from = ai_command_from(ctx);
    int status;
    if (argc < 6) return RedisModule_WrongArity(ctx);
    const char *error = model_check_key(ctx, argv[1]);
    if (error != NULL) return RedisModule_ReplyWithError(ctx, error);

    ai_arguments_open(&args, argv, argc);
    error = parse_modelstore(args.all, args.count, from, &parsed);
    status = error != NULL ? ai_reply_error(ctx, error) : store(ctx, argv, &args, &parsed, from);
    ai_arguments_close(&args);
    return status;
}

/* AI.MODELSET key backend device [TAG tag] [BATCHSIZE n [MINBATCHSIZE n [MINBATCHTIMEOUT ms]]] [INPUTS input ...
 * OUTPUTS output ...] BLOB chunk ...: the older form. It is replicated as AI.MODELSTORE. */
int ai_modelset(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    ai_arguments args;
    model_args parsed;
    int status;
    if (argc < 4) return RedisModule_WrongArity(ctx);
    const char *error = model_check_key(ctx, argv[1]);
    if (error != NULL) return RedisModule_ReplyWithError(ctx, error);

    ai_arguments_open(&args, argv, argc);
    error = parse_modelset(args.all, args.count, &parsed);
    status = error != NULL ? ai_reply_error(ctx, error) : store(ctx, argv, &args, &parsed, ai_command_from(ctx));
    ai_arguments_close(&args);
    return status;
}

static void reply_names(RedisModuleCtx *ctx, const char *title, const names *n) {
    RedisModule_ReplyWithCString(ctx, title);
    RedisModule_ReplyWithArray(ctx, (long)n->count);
    for (size_t i = 0; i < n->count; i++) RedisModule_ReplyWithStringBuffer(ctx, n->items[i].data, n->items[i].len);
}

static void reply_meta(RedisModuleCtx *ctx, const model *m) {
    RedisModule_ReplyWithCString(ctx, "backend");
    RedisModule_ReplyWithCString(ctx, model_backend_name(m->backend));
    RedisModule_ReplyWithCString(ctx, "device");
    RedisModule_ReplyWithStringBuffer(ctx, model_device(m).data, model_device(m).len);
    RedisModule_ReplyWithCString(ctx, "tag");
    RedisModule_ReplyWithStringBuffer(ctx, model_tag(m).data, model_tag(m).len);
    RedisModule_ReplyWithCString(ctx, "batchsize");
    RedisModule_ReplyWithLongLong(ctx, m->batchsize);
    RedisModule_ReplyWithCString(ctx, "minbatchsize");
    RedisModule_ReplyWithLongLong(ctx, m->minbatchsize);
    reply_names(ctx, "inputs", &m->inputs);
    reply_names(ctx, "outputs", &m->outputs);
    RedisModule_ReplyWithCString(ctx, "minbatchtimeout");
    RedisModule_ReplyWithLongLong(ctx, m->minbatchtimeout_ms);
}

static void reply_blob(RedisModuleCtx *ctx, const blob *b) {
    size_t chunk = (size_t)settings.model_chunk_size;
    if (b->size <= chunk) {
        RedisModule_ReplyWithStringBuffer(ctx, b->data, b->size);
        return;
    }
    RedisModule_ReplyWithArray(ctx, (long)(b->size / chunk + (b->size % chunk > 0)));
    for (size_t at = 0; at < b->size; at += chunk) {
        size_t left = b->size - at;
        RedisModule_ReplyWithStringBuffer(ctx, b->data + at, left < chunk ? left : chunk);
    }
}

/* AI.MODELGET key [META] [BLOB]: names and values; with BLOB, the bytes at the end or, without META, alone: one
 * string, or an array of them if there are more than keymiss.model-chunk-size. Nothing asked for is META BLOB;
 * other words are ignored. */
int ai_modelget(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    bool meta = false, bytes = false;
    const char *error;
    if (argc < 2 || argc > 4) return RedisModule_WrongArity(ctx);
    const model *m = model_at(ctx, argv[1], &error);
    if (m == NULL) return RedisModule_ReplyWithError(ctx, error);
    for (int i = 2; i < argc; i++) {
        meta = meta || slice_is_word(ai_slice(argv[i]), "META");
        bytes = bytes || slice_is_word(ai_slice(argv[i]), "BLOB");
    }
    if (!meta && !bytes) meta = bytes = true;

    if (meta) {
        RedisModule_ReplyWithArray(ctx, bytes ? 18 : 16);
        reply_meta(ctx, m);
        if (bytes) RedisModule_ReplyWithCString(ctx, "blob");
    }
    if (bytes) reply_blob(ctx, m->bytes);
    return REDISMODULE_OK;
}

/* AI.MODELDEL key: OK. Runs that have begun go on. */
int ai_modeldel(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    return ai_values_delete(ctx, argv, argc, &stored_models);
}

static slice tag_of(const void *value) {
    return model_tag(value);
}

/* AI._MODELSCAN: [key, tag] of every model of all databases, in no order. */
int ai_modelscan(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    (void)argv;
    return ai_values_scan(ctx, argc, &stored_models, tag_of);
}
