/* trace.h: KEYMISS.TRACE: one question through the normal path, and how long each stage of it took (docs/tracing.md).
 *
 * A traced request is known by its id until its client is answered. Jobs of it are marked, and their workers tell the stages
 * that they saw with DONE (docs/channel.md). */
#ifndef KEYMISS_TRACE_H
#define KEYMISS_TRACE_H

#include "jobs.h"

/* Is this request traced? Nearly always there is none. */
bool trace_wants(job_id request);

/* A worker's stages of it: a RESP2 value. What is malformed or too much is left out. */
void trace_add(job_id request, worker_role role, slice stages);

/* KEYMISS.TRACE <key>: what GET <key> would answer if the key were not there, and the stages of that. */
int trace_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);

#endif
