/* runs.h: what the commands that have models and scripts run share: their time, their totals, their outputs. */
#ifndef KEYMISS_RUNS_H
#define KEYMISS_RUNS_H

#include "jobs.h"
#include "model.h"

/* What they answer where nobody can wait for the worker. */
#define RUN_REFUSED_HERE "ERR Cannot run RedisAI command within a transaction or a LUA script"
#define RUN_MALFORMED_ANSWER "ERR the models worker gave a malformed answer"
#define RUN_TIMED_OUT "+TIMEDOUT\r\n"

/* A client's TIMEOUT as a job's deadline; 0: not given. */
long long run_deadline_ms(long long timeout_ms);

typedef struct run_totals {
    long long done, failed, timed_out; /* failed: refused by the model or its worker, or not stored */
} run_totals;
extern run_totals runs;
void runs_count(job_end end, bool ok);

/* NULL, or why the model cannot take so many. */
const char *run_check_counts(const model *m, size_t inputs, size_t outputs);

/* <duration_us> <calls> <samples> <errors>, as an answer says them. False if one is no number of 0 or more. */
enum { RUN_COUNTER_PARTS = 4 };
bool run_read_counters(const slice *parts, run_counters *out);
void run_add_counters(run_counters *to, const run_counters *more);

/* Is this reply of a worker one that a run may have: a status or an error, whole? */
bool run_reply_is_whole(slice reply);
bool run_reply_is_error(slice reply);

/* Store tensors at keys in their order, each told to replicas and the AOF; takes the references over. At a key that may
 * not be written it ends: what was stored before it stays, and the error is returned. */
const char *run_store_outputs(RedisModuleCtx *ctx, RedisModuleString *const *keys, tensor **tensors, size_t count);
/* NULL where a tensor may be stored now, or why not. */
const char *run_check_output(RedisModuleCtx *ctx, RedisModuleString *key);

#endif
