/* runs.h: what the commands that have models and scripts run share: their time, their totals, their outputs. */
#ifndef KEYMISS_RUNS_H
#define KEYMISS_RUNS_H

#include "graph.h"
#include "jobs.h"
#include "model.h"
#include "reply.h"

/* What they answer where nobody can wait for the worker. */
#define RUN_REFUSED_HERE "ERR Cannot run RedisAI command within a transaction or a LUA script"
#define RUN_MALFORMED_ANSWER "ERR the models worker gave a malformed answer"

/* A client's TIMEOUT as a job's deadline; 0: not given. */
long long run_deadline_ms(long long timeout_ms);

typedef struct run_totals {
    long long done, failed, timed_out; /* failed: refused by the model or its worker, or not stored */
} run_totals;
extern run_totals runs;
void runs_count(job_end end, bool ok);

/* End the wait for this job with the run's reply, or with the error (NULL: none); to one who said TIMEOUT, too late is an
 * answer and no error. Counts the run. */
void run_answer(waiter *w, const job_result *result, bool has_timeout, const char *error, slice reply);

/* The wait is for this job now. Without one (0) it ends with the error, and false is returned: nobody will call back. */
bool run_submitted(waiter *w, job_id job, const char *error);

/* NULL, or why the model cannot take so many. */
const char *run_check_counts(const model *m, size_t inputs, size_t outputs);

/* Keys that are written when the answer comes. */
typedef struct run_keys {
    RedisModuleString **items; /* held */
    size_t count;
} run_keys;
run_keys run_keys_hold(RedisModuleString **items, size_t count);
void run_keys_release(run_keys *keys);

/* Store a tensor at each key in their order, told to replicas and the AOF; takes the references over. At a key that may
 * not be written it ends: what was stored before it stays, and the error is returned. */
const char *run_store_outputs(RedisModuleCtx *ctx, const run_keys *keys, tensor **tensors);

/* Have the models worker run a graph, with the rights of the command's user where a script might call commands. Returns
 * 0 with *error set if it cannot be asked. */
job_id run_graph(RedisModuleCtx *ctx, const graph *g, long long timeout_ms, job_callback callback, void *arg,
                 const char **error);
/* For the callback: NULL, with *reply +OK and the graph decoded, or *reply the error of the whole; or an error. */
const char *run_graph_ended(graph *g, const job_result *result, slice *reply);

#endif
