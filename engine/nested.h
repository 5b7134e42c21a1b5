/* nested.h: serving one job's frames while the server's main thread waits: sync jobs and atomic sections. */
#ifndef KEYMISS_NESTED_H
#define KEYMISS_NESTED_H

#include "jobs.h"

/* How deep waits may lie in each other: a sync function writes a key that fires another sync function, and so on. */
enum { NESTED_MAX_DEPTH = 4 };

typedef enum nested_end {
    NESTED_FINISHED, /* the job ended, or the section did */
    NESTED_TIMED_OUT,
    NESTED_LOST,     /* the worker went away */
    NESTED_TOO_DEEP
} nested_end;

/* Serve only this job's frames, and the jobs submitted meanwhile, until the job ends or, for a section, until
 * nested_end_section(job); but not after until_us (monotonic). */
nested_end nested_serve(RedisModuleCtx *ctx, worker_role role, job_id job, bool section, uint64_t until_us);
void nested_end_section(job_id job);

bool nested_active(void);
/* True where a command, or what it has fired, waits for its job: its client is needed when that is over. */
bool nested_in_command(void);
/* The number of the innermost wait, 0 when there is none: marks the jobs that are submitted inside it. */
unsigned long long nested_wait(void);

#endif
