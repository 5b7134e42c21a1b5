/* ai_model.c: AI.MODELSTORE, AI.MODELSET, AI.MODELGET, AI.MODELDEL and AI._MODELSCAN.
 *
 * Storing a model: its bytes become a blob at once; then the models worker is asked to load it (JOB_LOAD), because
 * only it can tell whether the bytes are a model; when it says so, the key is made and replicas and the AOF are
 * told, with what the worker said about the model. So whoever hears it from us asks no worker. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ai.h"
#include "ai_command.h"
#include "jobs.h"
#include "memory.h"
#include "model_type.h"
#include "reply.h"
#include "settings.h"
#include "typed_io.h"
#include "typed_key.h"

/* A large model on a slow disk: reading 1 GB at 10 MB/s takes 100 s. */
enum { LOAD_TIMEOUT_MS = 5 * 60 * 1000 };

/* An AI.MODELSTORE on its way. */
typedef struct storing {
    model *model;
    RedisModuleString *key;
    RedisModuleString **chunks; /* of the command, to replicate it with */
    size_t chunk_count;
    waiter *waiter; /* NULL: the command itself waits, for the answer: */
    char *answer;   /* a RESP2 value */
    size_t answer_len;
} storing;

static storing *storing_new(RedisModuleString **argv, model *m, size_t first_chunk, size_t chunk_count) {
    storing *s = memory.alloc(sizeof *s);
    *s = (storing){.model = m, .key = RedisModule_HoldString(NULL, argv[1]), .chunk_count = chunk_count};
    s->chunks = memory.alloc(chunk_count * sizeof *s->chunks);
    for (size_t i = 0; i < chunk_count; i++) s->chunks[i] = RedisModule_HoldString(NULL, argv[first_chunk + i]);
    return s;
}

static void storing_free(storing *s) {
    model_release(s->model);
    RedisModule_FreeString(NULL, s->key);
    arguments_free(s->chunks, s->chunk_count);
    memory.free(s->answer);
    memory.free(s);
}

static void storing_answer(storing *s, const char *answer, size_t len) {
    if (s->waiter != NULL) {
        waiter_finish_resp(s->waiter, answer, len);
        storing_free(s);
    } else {
        s->answer = memory.alloc(len);
        memcpy(s->answer, answer, len);
        s->answer_len = len;
    }
}

static void storing_error(storing *s, const char *error) {
    char answer[512];
    int len = snprintf(answer, sizeof answer, "-%.*s\r\n", (int)sizeof answer - 4, error);
    storing_answer(s, answer, (size_t)len);
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

static void replicate(RedisModuleCtx *ctx, const storing *s) {
    RedisModuleString **arguments;
    size_t count = model_arguments(s->model, s->key, &arguments);
    RedisModule_Replicate(ctx, "AI.MODELSTORE", "vv", arguments, count, s->chunks, s->chunk_count);
    arguments_free(arguments, count);
}

/* The models worker has loaded it, or not. */
static void on_loaded(RedisModuleCtx *ctx, const job_result *result, void *arg) {
    storing *s = arg;
    const slice *inputs, *outputs;
    size_t at = 1, input_count, output_count;
    const char *error = NULL;
    if (result->end != JOB_DONE) {
        storing_error(s, result->error);
        return;
    }
    const frame *done = &result->done;
    slice answer = done->parts[0];
    if (resp_value_length(answer.data, answer.len) != answer.len || answer.len == 0 ||
        !read_names(done, &at, &inputs, &input_count) || !read_names(done, &at, &outputs, &output_count) ||
        at != done->count) {
        storing_error(s, "ERR the models worker gave a malformed answer");
        return;
    }
    if (answer.data[0] == '-') {
        storing_answer(s, answer.data, answer.len);
        return;
    }
    /* The key may be another one by now, or not ours to write. */
    if ((error = ai_refuse_write_to(ctx, s->key)) != NULL || (error = model_check_key(ctx, s->key)) != NULL) {
        storing_error(s, error);
        return;
    }
    model_set_names(s->model, inputs, input_count, outputs, output_count);
    replicate(ctx, s);
    model_store(ctx, s->key, model_hold(s->model));
    storing_answer(s, "+OK\r\n", 5);
}

static job_id submit_load(RedisModuleCtx *ctx, storing *s, bool sync, const char **error) {
    job_request request = {.role = WORKER_MODELS,
                           .kind = JOB_LOAD,
                           .deadline_ms = LOAD_TIMEOUT_MS,
                           .db = RedisModule_GetSelectedDb(ctx),
                           .repeatable = true,
                           .sync = sync,
                           .callback = on_loaded,
                           .arg = s};
    frame_init(&request.body);
    model_to_wire(s->model, &request.body);
    return job_submit(&request, error);
}

/* In a transaction or a script there is nobody to answer later: the main thread waits, keymiss.sync-timeout-ms at
 * most. */
static int load_at_once(RedisModuleCtx *ctx, storing *s) {
    const char *error;
    job_id job = submit_load(ctx, s, true, &error);
    if (job == 0) storing_error(s, error);
    else job_wait(ctx, job);
    reply_with_resp(ctx, (slice){s->answer, s->answer_len});
    storing_free(s);
    return REDISMODULE_OK;
}

static int load_and_answer_later(RedisModuleCtx *ctx, storing *s) {
    const char *error;
    s->waiter = waiter_new(ctx, "ERR Cannot store a model here: the client may not be blocked");
    if (s->waiter == NULL) {
        storing_free(s);
        return REDISMODULE_OK;
    }
    waiter *waiting = s->waiter;
    job_id job = submit_load(ctx, s, false, &error);
    if (job == 0) storing_error(s, error);
    else waiter_set_job(waiting, job);
    return REDISMODULE_OK;
}

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
    storing *s = storing_new(argv, m, (size_t)(parsed->chunks - args->all), parsed->chunk_count);
    return waiter_possible(ctx) ? load_and_answer_later(ctx, s) : load_at_once(ctx, s);
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
    const char *error;
    if (argc != 2) return RedisModule_WrongArity(ctx);
    if (model_at(ctx, argv[1], &error) == NULL) return RedisModule_ReplyWithError(ctx, error);
    typed_key_delete(ctx, argv[1]);
    RedisModule_ReplicateVerbatim(ctx);
    return RedisModule_ReplyWithSimpleString(ctx, "OK");
}

static void reply_model(RedisModuleCtx *ctx, RedisModuleString *key, const void *value, void *arg) {
    const model *m = value;
    long *count = arg;
    ++*count;
    RedisModule_ReplyWithArray(ctx, 2);
    RedisModule_ReplyWithString(ctx, key);
    RedisModule_ReplyWithStringBuffer(ctx, model_tag(m).data, model_tag(m).len);
}

/* AI._MODELSCAN: [key, tag] of every model of all databases, in no order. */
int ai_modelscan(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    long count = 0;
    (void)argv;
    if (argc != 1) return RedisModule_WrongArity(ctx);
    RedisModule_ReplyWithArray(ctx, REDISMODULE_POSTPONED_LEN);
    stored_values_each(ctx, &stored_models, reply_model, &count);
    RedisModule_ReplySetArrayLength(ctx, count);
    return REDISMODULE_OK;
}
