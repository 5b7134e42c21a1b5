/* job_flags.h: the <flags> of a JOB for the functions worker (docs/channel.md): where a job comes from, as letters. */
#ifndef KEYMISS_JOB_FLAGS_H
#define KEYMISS_JOB_FLAGS_H

#include "redis_api.h"
#include "resp.h"

/* Adds the element. context_flags: of RedisModule_GetContextFlags. sync: the main thread will wait for the job. traced: its
 * worker is to tell the stages that it sees. number: of a MISS that of its command, where this fired several; of an EVENT
 * the id of the job that caused it; 0: there is none. */
void job_flags_add(frame_writer *w, int context_flags, bool sync, bool traced, unsigned long long number);

/* Whether a client in this context has to be answered at once: inside MULTI, a script, or where blocking is denied. */
bool job_flags_deny_blocking(int context_flags);

#endif
