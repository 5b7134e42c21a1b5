#include "runs.h"

#include "ai_command.h"
#include "tensor_type.h"

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

const char *run_check_counts(const model *m, size_t inputs, size_t outputs) {
    if (inputs != m->inputs.count) return "Number of keys given as INPUTS here does not match model definition";
    if (outputs != m->outputs.count) return "Number of keys given as OUTPUTS here does not match model definition";
    return NULL;
}

bool run_read_counters(const slice *parts, run_counters *out) {
    long long *const fields[RUN_COUNTER_PARTS] = {&out->duration_us, &out->calls, &out->samples, &out->errors};
    for (int i = 0; i < RUN_COUNTER_PARTS; i++) {
        if (!slice_number(parts[i], fields[i]) || *fields[i] < 0) return false;
    }
    return true;
}

void run_add_counters(run_counters *to, const run_counters *more) {
    to->duration_us += more->duration_us;
    to->calls += more->calls;
    to->samples += more->samples;
    to->errors += more->errors;
}

bool run_reply_is_whole(slice reply) {
    return reply.len > 0 && resp_value_length(reply.data, reply.len) == reply.len;
}

bool run_reply_is_error(slice reply) {
    return reply.data[0] == '-';
}

const char *run_check_output(RedisModuleCtx *ctx, RedisModuleString *key) {
    const char *error = ai_refuse_write_to(ctx, key);
    return error != NULL ? error : tensor_check_key(ctx, key);
}

const char *run_store_outputs(RedisModuleCtx *ctx, RedisModuleString *const *keys, tensor **tensors, size_t count) {
    const char *error = NULL;
    size_t stored = 0;
    for (; stored < count && (error = run_check_output(ctx, keys[stored])) == NULL; stored++)
        tensor_store_and_replicate(ctx, keys[stored], tensors[stored]);
    for (size_t i = stored; i < count; i++) tensor_release(tensors[i]);
    return error;
}
