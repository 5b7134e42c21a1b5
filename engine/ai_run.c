/* ai_run.c: see ai_run.h.
 *
 * The inputs are copied into the job's frame, so keys may change while it runs; the model is held, so it may be
 * deleted. Outputs are stored when the answer comes, in the database that was the client's when it asked. */
#include "ai_run.h"

#include "ai.h"
#include "ai_command.h"
#include "jobs.h"
#include "memory.h"
#include "model_type.h"
#include "reply.h"
#include "runs.h"
#include "settings.h"
#include "tensor_type.h"

/* ---- the job, whoever asks ---- */

/* <model> <outputs> <n>; the inputs follow. */
static void begin_body(frame_writer *body, model *m, size_t inputs) {
    frame_init(body);
    frame_add_slice(body, model_to_wire(m));
    frame_add_number(body, (long long)m->outputs.count);
    frame_add_number(body, (long long)inputs);
}

typedef struct answer {
    slice reply;        /* +OK or an error */
    const slice *parts; /* three for each output */
    size_t count;       /* outputs */
} answer;

/* <reply> <duration_us> <calls> <samples> <errors> <n> (<dtype> <shape> <data>)*n, or an error alone. Adds to the
 * model's counters. False, nothing added, if it is malformed. */
static bool read_answer(const frame *f, model *m, answer *out) {
    enum { REPLY, COUNTERS, COUNT = COUNTERS + RUN_COUNTER_PARTS, FIRST };
    run_counters counters;
    long long count;
    *out = (answer){f->parts[REPLY], NULL, 0};
    if (f->count == 1) return run_reply_is_whole(out->reply) && run_reply_is_error(out->reply);
    if (f->count < FIRST || !run_counters_read(f->parts + COUNTERS, &counters)) return false;
    out->parts = f->parts + FIRST;
    out->count = (f->count - FIRST) / 3;
    if (!slice_number(f->parts[COUNT], &count) || count < 0) return false;
    if ((f->count - FIRST) % 3 != 0 || (unsigned long long)count != out->count) return false;
    if (!run_reply_is_whole(out->reply)) return false;
    run_counters_add(&m->counters, &counters);
    return true;
}

/* ---- AI.MODELEXECUTE and AI.MODELRUN ---- */

typedef struct execution {
    waiter *waiter;
    model *model;
    bool has_timeout; /* the client said TIMEOUT */
    run_keys outputs;
} execution;

static void execution_free(execution *e) {
    model_release(e->model);
    run_keys_release(&e->outputs);
    memory.free(e);
}

/* All outputs are made before the first is stored: a bad one leaves the keys as they were. */
static const char *store_outputs(RedisModuleCtx *ctx, const execution *e, const answer *a) {
    const char *error = NULL;
    size_t made = 0;
    tensor **tensors;
    if (a->count != e->outputs.count) return "ERR the model gave another number of outputs than its definition says";
    tensors = memory.alloc(a->count * sizeof *tensors);
    for (; made < a->count; made++) {
        const slice *part = a->parts + 3 * made;
        tensors[made] = tensor_from_wire(part[0], part[1], part[2], &error);
        if (tensors[made] == NULL) break;
    }
    if (error == NULL) {
        error = run_store_outputs(ctx, &e->outputs, tensors);
    } else {
        for (size_t i = 0; i < made; i++) tensor_release(tensors[i]);
    }
    memory.free(tensors);
    return error;
}

static void on_executed(RedisModuleCtx *ctx, const job_result *result, void *arg) {
    execution *e = arg;
    const char *error = NULL;
    answer a = {{NULL, 0}, NULL, 0};
    if (result->end != JOB_DONE) error = result->error;
    else if (!read_answer(&result->done, e->model, &a)) error = RUN_MALFORMED_ANSWER;
    else if (!run_reply_is_error(a.reply)) error = store_outputs(ctx, e, &a);
    run_answer(e->waiter, result, e->has_timeout, error, a.reply);
    execution_free(e);
}

/* The inputs as elements of the frame; NULL, or the error of the key that is no tensor. Where they are too many for a frame
 * it is left when it is full: nobody takes the job then. */
static const char *add_inputs(RedisModuleCtx *ctx, frame_writer *body, RedisModuleString **keys, size_t count) {
    const char *error = NULL;
    for (size_t i = 0; i < count && body->len <= (size_t)settings.max_frame_bytes; i++) {
        const tensor *t = tensor_at(ctx, keys[i], &error);
        if (t == NULL) return error;
        tensor_to_wire(t, body);
    }
    return NULL;
}

static int execute(RedisModuleCtx *ctx, RedisModuleString **argv, model *m, const run_args *args) {
    job_request request = {.role = WORKER_MODELS,
                           .kind = JOB_RUN,
                           .deadline_ms = run_deadline_ms(args->timeout_ms),
                           .db = RedisModule_GetSelectedDb(ctx),
                           .repeatable = true,
                           .callback = on_executed};
    const char *error = run_check_counts(m, args->input_count, args->output_count);
    if (error != NULL) return RedisModule_ReplyWithError(ctx, error);
    if ((error = ai_refuse_writes(ctx)) != NULL) return RedisModule_ReplyWithError(ctx, error);

    begin_body(&request.body, m, args->input_count);
    error = add_inputs(ctx, &request.body, argv + args->first_input, args->input_count);
    waiter *w = NULL;
    if (error != NULL) RedisModule_ReplyWithError(ctx, error);
    else w = waiter_new(ctx, RUN_REFUSED_HERE);
    if (w == NULL) {
        frame_free(&request.body);
        return REDISMODULE_OK;
    }
    execution *e = memory.alloc(sizeof *e);
    *e = (execution){.waiter = w,
                     .model = model_hold(m),
                     .has_timeout = args->timeout_ms > 0,
                     .outputs = run_keys_hold(argv + args->first_output, args->output_count)};
    request.arg = e;
    job_id job = job_submit(&request, &error);
    if (!run_submitted(w, job, error)) execution_free(e);
    return REDISMODULE_OK;
}

/* The server asks which keys the command has. Wrong arguments are told by running it. */
static int tell_keys(RedisModuleCtx *ctx, const run_args *args) {
    ai_tell_keys(ctx, 1, 1, AI_KEY_READ);
    ai_tell_keys(ctx, args->first_input, args->input_count, AI_KEY_READ);
    ai_tell_keys(ctx, args->first_output, args->output_count, AI_KEY_STORED);
    return REDISMODULE_OK;
}

static int run_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, int min_argc,
                       const char *(*parse)(const slice *argv, size_t argc, run_args *out)) {
    ai_arguments args;
    run_args parsed;
    const char *error, *no_model = NULL;
    ai_arguments_open(&args, argv, argc);
    error = parse(args.all, args.count, &parsed);
    ai_arguments_close(&args); /* argv still holds what `parsed` points to */

    if (RedisModule_IsKeysPositionRequest(ctx)) return argc < min_argc ? REDISMODULE_OK : tell_keys(ctx, &parsed);
    if (argc < min_argc) return RedisModule_ReplyWithError(ctx, error);
    model *m = model_at(ctx, argv[1], &no_model);
    if (m == NULL) return RedisModule_ReplyWithError(ctx, no_model);
    if (error == ARGS_UNEXPECTED) return ai_reply_error_about(ctx, error, parsed.unexpected);
    if (error != NULL) return RedisModule_ReplyWithError(ctx, error);
    return execute(ctx, argv, m, &parsed);
}

/* AI.MODELEXECUTE key INPUTS n input ... OUTPUTS n output ... [TIMEOUT ms]: OK when the outputs are stored;
 * TIMEDOUT, and nothing stored, after ms. */
int ai_modelexecute(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    return run_command(ctx, argv, argc, 8, parse_modelexecute);
}

/* AI.MODELRUN key [TIMEOUT ms] INPUTS input ... OUTPUTS output ...: the older form. */
int ai_modelrun(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    return run_command(ctx, argv, argc, 6, parse_modelrun);
}

/* ---- RUN ---- */

typedef struct function_run {
    asker from;
    model *model;
} function_run;

static const char *check_tensors(const slice *parts, size_t count) {
    const char *error = NULL;
    for (size_t i = 0; i < count && error == NULL; i++)
        error = tensor_check_wire(parts[3 * i], parts[3 * i + 1], parts[3 * i + 2]);
    return error;
}

static void on_run(RedisModuleCtx *ctx, const job_result *result, void *arg) {
    function_run *r = arg;
    const char *error = NULL;
    answer a = {{NULL, 0}, NULL, 0};
    (void)ctx;
    if (result->end != JOB_DONE) error = result->error;
    else if (!read_answer(&result->done, r->model, &a)) error = RUN_MALFORMED_ANSWER;
    else error = check_tensors(a.parts, a.count);

    runs_count(result->end, error == NULL && !run_reply_is_error(a.reply));
    if (error != NULL) asker_outputs_error(r->from, error);
    else asker_outputs(r->from, a.reply, a.parts, a.count);
    model_release(r->model);
    memory.free(r);
}

static const char *submit_for_function(RedisModuleCtx *ctx, const run_request *wanted) {
    job_request request = {.role = WORKER_MODELS,
                           .kind = JOB_RUN,
                           .deadline_ms = run_deadline_ms(wanted->deadline_ms),
                           .db = RedisModule_GetSelectedDb(ctx),
                           .request = wanted->job,
                           .repeatable = true,
                           .callback = on_run};
    const char *error = NULL;
    RedisModuleString *key = RedisModule_CreateString(NULL, wanted->key.data, wanted->key.len);
    model *m = model_at(ctx, key, &error);
    RedisModule_FreeString(NULL, key);
    if (m == NULL) return error;
    if ((error = run_check_counts(m, wanted->count, m->outputs.count)) != NULL) return error;
    if ((error = check_tensors(wanted->inputs, wanted->count)) != NULL) return error;

    begin_body(&request.body, m, wanted->count);
    for (size_t i = 0; i < 3 * wanted->count; i++)
        frame_add(&request.body, wanted->inputs[i].data, wanted->inputs[i].len);
    function_run *r = memory.alloc(sizeof *r);
    *r = (function_run){.from = wanted->from, .model = model_hold(m)};
    request.arg = r;
    if (job_submit(&request, &error) != 0) return NULL;
    runs_count(JOB_FAILED, false);
    model_release(m);
    memory.free(r);
    return error;
}

void ai_run_for_function(RedisModuleCtx *ctx, const run_request *request) {
    const char *error = submit_for_function(ctx, request);
    if (error != NULL) asker_outputs_error(request->from, error);
}
