#include "runs.h"

#include "ai_command.h"
#include "errors.h"
#include "memory.h"
#include "run_counters.h"
#include "settings.h"
#include "tensor_type.h"
#include "users.h"

enum { MAX_TIMEOUT_MS = 24 * 3600 * 1000 }; /* as keymiss.job-timeout-ms; a longer TIMEOUT is taken as this */

run_totals runs;

long long run_deadline_ms(long long timeout_ms) {
    return timeout_ms < MAX_TIMEOUT_MS ? timeout_ms : MAX_TIMEOUT_MS;
}

void runs_count(job_end end, bool ok) {
    if (end == JOB_TIMED_OUT) runs.timed_out++;
    else if (end == JOB_DONE && ok) runs.done++;
    else runs.failed++;
}

/* The reply of the only run of a graph may be an error where that of the whole is none. */
static error_kind blame_for(const job_result *result, const char *error, slice reply) {
    if (result->blame != ERROR_NONE || error != NULL || !run_reply_is_error(reply)) return result->blame;
    return ERROR_MODEL;
}

void run_answer(waiter *w, const job_result *result, bool has_timeout, const char *error, slice reply) {
    static const char TIMED_OUT[] = "+TIMEDOUT\r\n";
    runs_count(result->end, error == NULL && !run_reply_is_error(reply));
    if (result->end == JOB_TIMED_OUT && has_timeout) {
        waiter_finish_resp(w, TIMED_OUT, sizeof TIMED_OUT - 1);
        return;
    }
    errors_count(blame_for(result, error, reply));
    if (error != NULL) waiter_finish_error(w, error);
    else waiter_finish_resp(w, reply.data, reply.len);
}

bool run_submitted(waiter *w, job_id job, const char *error) {
    if (job != 0) waiter_set_job(w, job);
    else run_answer(w, &(job_result){.end = JOB_FAILED, .blame = error_kind_refused(error)}, false, error, (slice){NULL, 0});
    return job != 0;
}

const char *run_check_counts(const model *m, size_t inputs, size_t outputs) {
    if (inputs != m->inputs.count) return "Number of keys given as INPUTS here does not match model definition";
    if (outputs != m->outputs.count) return "Number of keys given as OUTPUTS here does not match model definition";
    return NULL;
}

run_keys run_keys_hold(RedisModuleString **items, size_t count) {
    run_keys keys = {memory.alloc(count * sizeof *keys.items), count};
    for (size_t i = 0; i < count; i++) keys.items[i] = RedisModule_HoldString(NULL, items[i]);
    return keys;
}

void run_keys_release(run_keys *keys) {
    for (size_t i = 0; i < keys->count; i++) RedisModule_FreeString(NULL, keys->items[i]);
    memory.free(keys->items);
}

/* NULL where a tensor may be stored now, or why not. */
static const char *check_output(RedisModuleCtx *ctx, RedisModuleString *key) {
    const char *error = ai_refuse_write_to(ctx, key);
    return error != NULL ? error : tensor_check_key(ctx, key);
}

const char *run_store_outputs(RedisModuleCtx *ctx, const run_keys *keys, tensor **tensors) {
    const char *error = NULL;
    size_t stored = 0;
    for (; stored < keys->count && (error = check_output(ctx, keys->items[stored])) == NULL; stored++)
        tensor_store_and_replicate(ctx, keys->items[stored], tensors[stored]);
    for (size_t i = stored; i < keys->count; i++) tensor_release(tensors[i]);
    return error;
}

job_id run_graph(RedisModuleCtx *ctx, const graph *g, long long timeout_ms, job_callback callback, void *arg,
                 const char **error) {
    bool repeatable = graph_repeatable(g);
    job_request request = {.role = WORKER_MODELS,
                           .kind = JOB_DAG,
                           .deadline_ms = run_deadline_ms(timeout_ms),
                           .db = RedisModule_GetSelectedDb(ctx),
                           .repeatable = repeatable,
                           .user = repeatable ? NULL : users_current_name(ctx),
                           .callback = callback,
                           .arg = arg};
    frame_init(&request.body);
    graph_encode(g, &request.body, (size_t)settings.max_frame_bytes);
    return job_submit(&request, error);
}

const char *run_graph_ended(graph *g, const job_result *result, slice *reply) {
    static const slice OK = {"+OK\r\n", 5};
    if (result->end != JOB_DONE) return result->error;
    switch (graph_decode(g, &result->done, reply)) {
    case GRAPH_MALFORMED: return RUN_MALFORMED_ANSWER;
    case GRAPH_FAILED: return NULL;
    case GRAPH_DONE: *reply = OK;
    }
    return NULL;
}
