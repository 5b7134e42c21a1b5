/* job_log.h: what the log says of jobs: errors, timeouts and slow ones, all others at debug level only. */
#ifndef KEYMISS_JOB_LOG_H
#define KEYMISS_JOB_LOG_H

#include "jobs.h"

typedef struct job_ending {
    job_id id, request;
    worker_role role;
    const char *kind;
    uint64_t took_us;
    const frame_writer *body; /* of MISS, EVENT and HOOKED it says which registration and key; empty where it is gone */
} job_ending;

/* Nearly always does nothing but find that there is nothing to say. */
void job_log_ended(const job_ending *e, const job_result *result);

/* It was not even queued. request: whose it is, 0 where that would have been itself. */
void job_log_refused(job_id request, const char *kind, const char *error);

#endif
