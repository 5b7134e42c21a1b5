/* jobs.h: work given to a worker, from submission to its one end.
 *
 * 1. Everything here runs on the server's main thread.
 * 2. A submitted job ends exactly once, through its callback: done by the worker, timed out, failed (the worker died
 *    too often or could not be started, or the client left) or cancelled by its owner with job_cancel (then without
 *    callback).
 * 3. The callback runs inside a unit of execution: either the zero-delay timer (see unit.c), so that RM_Call and
 *    RM_Replicate propagate, or, for a sync job, inside job_wait. Never straight from the event loop.
 * 4. What a job says is kept as long as it may be sent again, to the next worker if this one dies. */
#ifndef KEYMISS_JOBS_H
#define KEYMISS_JOBS_H

#include "errors.h"
#include "redis_api.h"
#include "resp.h"

typedef enum worker_role { WORKER_FUNCTIONS, WORKER_MODELS, WORKER_ROLES } worker_role;

typedef enum job_kind { JOB_COMMAND, JOB_MISS, JOB_EVENT, JOB_HOOKED, JOB_LOAD, JOB_RUN, JOB_COMPILE, JOB_DAG, JOB_KINDS } job_kind;

typedef enum job_end { JOB_DONE, JOB_TIMED_OUT, JOB_FAILED } job_end;

typedef unsigned long long job_id; /* 0 is no job */

typedef struct job_result {
    job_end end;
    frame done;         /* JOB_DONE: the elements after the job's id, reply first; valid during the callback only */
    const char *error;  /* not JOB_DONE: a whole error, code first ("BUSY ...", "ERR ..."), no line ends */
    uint64_t submitted_us, sent_us; /* monotonic; it was never sent: 0. Set by jobs.c */
    error_kind blame;   /* of that, or of the error that is the reply; ERROR_NONE: there is none, or nobody to get it */
    uint64_t heard_us;  /* JOB_DONE: when the worker said so, monotonic */
} job_result;

typedef void (*job_callback)(RedisModuleCtx *ctx, const job_result *result, void *arg);

typedef struct job_request {
    worker_role role;
    job_kind kind;
    long long deadline_ms;  /* 0: keymiss.job-timeout-ms; negative: none */
    int db;                 /* the database its CALLs run in */
    job_id request;         /* which a function runs that asked for this; 0: this is the request, or the running CALL's is */
    bool repeatable;        /* may be sent once more when the worker dies */
    bool traced;            /* its DONE has the stages as a last element, for trace.c; others see no more of it */
    bool sync;              /* job_wait will be called at once */
    RedisModuleString *user; /* by name: its CALLs have that user's rights; NULL: all; ownership passes to job_submit */
    uint64_t seen_us;       /* a miss whose stages are measured: when its command was seen; 0: not measured */
    frame_writer body;      /* elements after deadline_ms; ownership passes to job_submit */
    job_callback callback;
    void *arg;
} job_request;

/* Queue a job, starting its worker if need be. Returns its id, or 0 with *error set to a whole static error (queue full:
 * "BUSY ...") and the callback never called. */
job_id job_submit(job_request *request, const char **error);

/* Serve only this sync job's CALLs until it ends (its callback is called before this returns). ctx: the command or
 * notification that waits; CALLs run in it. Bounded by the job's deadline and keymiss.sync-timeout-ms. */
void job_wait(RedisModuleCtx *ctx, job_id id);

/* Nobody wants the result any more: the worker is told, the callback is not called. */
void job_cancel(job_id id);
/* The same, but the callback is called, in a later unit, with JOB_FAILED: for one who is not the job's owner. */
void job_abandon(job_id id);

/* True while the main thread is inside job_wait or an atomic section: nothing that blocks may be started. */
bool jobs_waiting(void);

/* For calls.c, nested.c and worker.c. */
void jobs_init(RedisModuleCtx *ctx);
typedef struct job_facts {
    worker_role role;
    job_id request;          /* what a client or an event began, and logs and traces name: its own id or that of another job */
    int db;
    unsigned long long wait; /* the wait (nested.h) inside which it was submitted; 0: none */
    uint64_t deadline_us;    /* monotonic; 0: none */
    job_kind kind;
    RedisModuleString *user; /* as the request said; good while the job lives */
} job_facts;
bool job_find(job_id id, job_facts *out);      /* false if there is no such job any more */
bool jobs_queued(worker_role role);            /* any that wait for their worker? */
bool jobs_at_work(worker_role role);           /* any that were sent to it? */
void jobs_send_queued(worker_role role);       /* to a worker that is ready or has room again */
/* The channel is gone: what may be repeated waits for the next worker, the rest ends. */
void jobs_worker_ended(RedisModuleCtx *ctx, worker_role role, const char *why);
void jobs_fail_queued(RedisModuleCtx *ctx, worker_role role, const char *why); /* no worker can be started */
/* The worker reads nothing: end the jobs that somebody has waited for so long; they were not sent, so nothing of them is done. */
void jobs_fail_unread(RedisModuleCtx *ctx, worker_role role, uint64_t waited_us, const char *error);
/* This worker is gone while a wait needs it: end the jobs of that wait. */
void jobs_fail_waited(RedisModuleCtx *ctx, worker_role role, unsigned long long wait);

#endif
