/* ai_model.c: AI.MODELSTORE, AI.MODELSET, AI.MODELGET, AI.MODELDEL and AI._MODELSCAN.
 *
 * Storing a model: its bytes become a blob, in a thread beside the main one where there are many; then the models worker
 * is asked to load it (ai_store.h), and tells the names of its inputs and outputs. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ai.h"
#include "ai_command.h"
#include "ai_store.h"
#include "ai_values.h"
#include "log.h"
#include "memory.h"
#include "model_type.h"
#include "settings.h"
#include "typed_io.h"
#include "typed_key.h"

/* A model that is to be stored. */
typedef struct new_model {
    model *model;               /* without bytes until they are prepared */
    RedisModuleString **chunks; /* of the command, none where it gave a digest */
    slice *pieces;              /* their bytes, for the thread that prepares */
    size_t chunk_count;
    char *directory; /* of the blob; NULL with failed set */
    bool must;       /* be stored: in memory where the directory takes no more */
    int failed;      /* errno */
    char error[256];
} new_model;

enum { LONG_BYTES = 1 << 20 }; /* from here on, hashing and writing take over 1 ms */

static new_model *new_model_new(model *m, RedisModuleString **chunks, size_t count) {
    new_model *n = memory.alloc(sizeof *n);
    *n = (new_model){.model = m,
                     .chunks = memory.alloc((count + 1) * sizeof *n->chunks),
                     .pieces = memory.alloc((count + 1) * sizeof *n->pieces),
                     .chunk_count = count,
                     .directory = blobs_directory(),
                     .failed = errno};
    for (size_t i = 0; i < count; i++) {
        n->chunks[i] = RedisModule_HoldString(NULL, chunks[i]);
        RedisModule_TrimStringAllocation(n->chunks[i]); /* the server does behind the command: the thread would read it then */
        n->pieces[i] = ai_slice(n->chunks[i]);
    }
    return n;
}

static void new_model_free(void *value) {
    new_model *n = value;
    model_release(n->model);
    arguments_free(n->chunks, n->chunk_count);
    memory.free(n->pieces);
    memory.free(n->directory);
    memory.free(n);
}

/* In any thread. */
static void new_model_prepare(void *value) {
    new_model *n = value;
    if ((n->directory == NULL && !n->must) || n->model->bytes != NULL) return;
    n->model->bytes = blob_store(n->directory, n->pieces, n->chunk_count, n->must);
    n->failed = errno;
}

static const char *new_model_refused(void *value) {
    new_model *n = value;
    if (n->model->bytes != NULL) return NULL;
    snprintf(n->error, sizeof n->error, "ERR cannot write the model to keymiss.models-dir: %s", strerror(n->failed));
    return n->error;
}

static const char *new_model_write(void *value, frame_writer *body) {
    const char *error = new_model_refused(value);
    if (error == NULL) frame_add_slice(body, model_to_wire(((new_model *)value)->model));
    return error;
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

/* Does anything hear what this server replicates? */
static bool has_listeners(RedisModuleCtx *ctx) {
    RedisModuleServerInfoData *file = RedisModule_GetServerInfo(ctx, "persistence");
    RedisModuleServerInfoData *stream = RedisModule_GetServerInfo(ctx, "replication");
    const char *writes = RedisModule_ServerInfoGetFieldC(file, "aof_enabled");
    const char *sends = RedisModule_ServerInfoGetFieldC(stream, "repl_backlog_active");
    bool heard = writes == NULL || sends == NULL || strcmp(writes, "0") != 0 || strcmp(sends, "0") != 0;
    RedisModule_FreeServerInfo(ctx, file);
    RedisModule_FreeServerInfo(ctx, stream);
    return heard;
}

/* Bytes that those who hear it have are not sent to them again. */
static void replicate(RedisModuleCtx *ctx, RedisModuleString *key, const new_model *n) {
    RedisModuleString **arguments, **chunks;
    size_t count = model_arguments(n->model, key, &arguments), chunk_count;
    if (model_bytes_are_held(ctx, n->model->bytes) || !has_listeners(ctx)) {
        count += model_digest_arguments(n->model, arguments + count);
        RedisModule_Replicate(ctx, "AI.MODELSTORE", "v", arguments, count);
    } else {
        arguments[count++] = text_argument("BLOB");
        if (n->chunk_count > 0) {
            RedisModule_Replicate(ctx, "AI.MODELSTORE", "vv", arguments, count, n->chunks, n->chunk_count);
        } else {
            chunk_count = model_chunk_arguments(n->model, &chunks);
            RedisModule_Replicate(ctx, "AI.MODELSTORE", "vv", arguments, count, chunks, chunk_count);
            arguments_free(chunks, chunk_count);
        }
    }
    arguments_free(arguments, count);
}

static void new_model_store(RedisModuleCtx *ctx, RedisModuleString *key, void *value) {
    const new_model *n = value;
    RedisModuleKey *open = typed_key_open_to_set(ctx, key);
    replicate(ctx, key, n);
    model_put(ctx, open, key, model_hold(n->model));
}

static const store_kind MODEL_STORE = {JOB_LOAD,       new_model_prepare, new_model_write, model_check_key,
                                       new_model_read, new_model_store,   new_model_free};

/* From the master or the AOF, where nobody reads the reply. */
static int store_at_once(RedisModuleCtx *ctx, RedisModuleString *key, new_model *n) {
    const char *error;
    n->must = true;
    new_model_prepare(n);
    error = new_model_refused(n);
    if (error != NULL) {
        log_note(LEVEL_WARNING, "model lost: %s", error);
        RedisModule_ReplyWithError(ctx, error);
    } else {
        model_tell_unwritten(n->model);
        model_put(ctx, typed_key_open_to_set(ctx, key), key, model_hold(n->model));
        RedisModule_ReplicateVerbatim(ctx);
        RedisModule_ReplyWithSimpleString(ctx, "OK");
    }
    new_model_free(n);
    return REDISMODULE_OK;
}

/* Both commands, their arguments read: they point into args. */
static int store(RedisModuleCtx *ctx, RedisModuleString **argv, const ai_arguments *args, const model_args *parsed,
                 args_from from) {
    static const char unknown[] = "ERR no model with this DIGEST is on this host: store it once with its BLOB";
    size_t size = 0;
    blob *bytes = NULL;
    if (parsed->digest.len > 0) {
        char digest[SHA256_HEX_CHARS + 1];
        snprintf(digest, sizeof digest, "%.*s", SHA256_HEX_CHARS, parsed->digest.data);
        bytes = blob_find(digest);
        if (bytes == NULL && from == ARGS_FROM_SERVER)
            log_note(LEVEL_WARNING, "model lost: its bytes, which an earlier one had, are not there");
        if (bytes == NULL) return RedisModule_ReplyWithError(ctx, unknown);
    }
    for (size_t i = 0; i < parsed->chunk_count; i++) size += parsed->chunks[i].len;
    RedisModuleString **chunks = parsed->chunks == NULL ? NULL : argv + (parsed->chunks - args->all);
    new_model *n = new_model_new(model_new(parsed, bytes), chunks, parsed->chunk_count);
    if (from == ARGS_FROM_SERVER) return store_at_once(ctx, argv[1], n);
    return ai_store(ctx, &MODEL_STORE, argv[1], n, size >= LONG_BYTES);
}

/* AI.MODELSTORE key backend device [TAG tag] [BATCHSIZE n [MINBATCHSIZE n [MINBATCHTIMEOUT ms]]] [INPUTS n input
 * ... OUTPUTS n output ...] (BLOB chunk ... | DIGEST digest): OK once the models worker has loaded it; its error, and
 * nothing stored, if it cannot. DIGEST, the SHA-256 of the bytes, is enough where a key of this shard, or of another one
 * with the same keymiss.models-dir, holds a model with them. */
int ai_modelstore(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    ai_arguments args;
    model_args parsed;
    args_from from = ai_command_from(ctx);
    const char *error;
    ai_arguments_open(&args, argv, argc);
    error = parse_modelstore(args.all, args.count, from, &parsed);
    if (error == NULL) error = model_check_key(ctx, argv[1]);
    int status = error != NULL ? ai_reply_error(ctx, error) : store(ctx, argv, &args, &parsed, from);
    ai_arguments_close(&args);
    return status;
}

/* AI.MODELSET key backend device [TAG tag] [BATCHSIZE n [MINBATCHSIZE n [MINBATCHTIMEOUT ms]]] [INPUTS input ...
 * OUTPUTS output ...] BLOB chunk ...: the older form. It is replicated as AI.MODELSTORE. */
int ai_modelset(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    ai_arguments args;
    model_args parsed;
    const char *error;
    ai_arguments_open(&args, argv, argc);
    error = parse_modelset(args.all, args.count, &parsed);
    if (error == NULL) error = model_check_key(ctx, argv[1]);
    int status = error != NULL ? ai_reply_error(ctx, error) : store(ctx, argv, &args, &parsed, ai_command_from(ctx));
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
