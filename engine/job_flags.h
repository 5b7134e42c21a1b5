/* job_flags.h: the <flags> of a JOB for the functions worker (docs/channel.md): where a job comes from, as letters. */
#ifndef KEYMISS_JOB_FLAGS_H
#define KEYMISS_JOB_FLAGS_H

#include "redis_api.h"
#include "resp.h"

/* Adds the element. context_flags: of RedisModule_GetContextFlags; sync: the main thread will wait for the job; command: a
 * number for the command that fired this job and others, 0 where it fired no other. */
void job_flags_add(frame_writer *w, int context_flags, bool sync, unsigned long long command);

/* Whether a client in this context has to be answered at once: inside MULTI, a script, or where blocking is denied. */
bool job_flags_deny_blocking(int context_flags);

#endif
