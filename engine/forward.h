/* forward.h: commands that the functions worker answers: the reply in its DONE is the client's. */
#ifndef KEYMISS_FORWARD_H
#define KEYMISS_FORWARD_H

#include "jobs.h"

/* Adds the arguments, each an element. */
void forward_add_arguments(frame_writer *body, RedisModuleString **argv, int argc);

/* Submits the job for the caller of the current command: with request->sync the main thread waits for it, else the client is
 * blocked or, where that is denied, given `refusal`. Sets the request's callback and arg. A client that leaves does
 * not end what it started. */
int forward_job(RedisModuleCtx *ctx, job_request *request, const char *refusal);

#endif
