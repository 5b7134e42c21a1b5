/* calls.h: what the workers ask of the shard: CALL of both; RUN, BEGIN and END of the functions worker. */
#ifndef KEYMISS_CALLS_H
#define KEYMISS_CALLS_H

#include "asker.h"

void calls_init(RedisModuleCtx *ctx);

/* The <job> of a frame of this worker; 0 is no job, which only a function may name. False where it is not one of its jobs,
 * or has ended. */
bool calls_job(worker_role role, slice id, job_id *job, job_facts *facts);

/* RUN: the handler opens the model at `key` (ctx is in the job's database), submits a JOB_RUN to the models worker and
 * answers with asker_outputs. The request is valid during the call only. */
typedef struct run_request {
    asker from;
    job_id job;            /* 0: outside any job */
    long long deadline_ms; /* 0: the default */
    slice key;
    const slice *inputs;   /* dtype, shape, data of each */
    size_t count;          /* tensors */
} run_request;
typedef void (*run_handler)(RedisModuleCtx *ctx, const run_request *request);
void calls_on_run(run_handler handler);

/* The CALL of a function that the running command was started by, if any: then a command that must wait takes it over
 * with calls_defer and answers it later, and the RESULT waits until then. */
bool calls_current(asker *out);
void calls_defer(void);
/* The job whose CALL is being run, the innermost; 0: none, or one of no job. */
job_id calls_current_job(void);
/* Is a CALL of this worker being run, be it with others inside? */
bool calls_of(worker_role role);

#endif
