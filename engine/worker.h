/* worker.h: the two worker processes: start, greet, watch, start again.
 *
 * 1. A worker is started on first need (worker_need), and again with back-off when its channel ends while there is
 *    work or worker_keep says so.
 * 2. Every channel that was opened is one generation. What a frame of one generation asked for is never answered on
 *    the next one's channel.
 * 3. Handlers of frames run inside a unit (unit.h), in the order in which the frames came. */
#ifndef KEYMISS_WORKER_H
#define KEYMISS_WORKER_H

#include "channel.h"
#include "jobs.h"

typedef void (*verb_handler)(RedisModuleCtx *ctx, worker_role role, const frame *f); /* f: the whole frame */
typedef void (*ready_handler)(RedisModuleCtx *ctx, worker_role role);

void worker_init(RedisModuleCtx *ctx);
const char *worker_name(worker_role role); /* "functions", "models" */

/* Handle frames of this verb; fewer than min_parts elements (the verb counts) end the channel. A verb has one handler. */
void worker_on_verb(worker_role role, const char *verb, size_t min_parts, verb_handler handler);
/* Called each time the worker has said READY, before any job is sent to it: registrations go here. */
void worker_on_ready(worker_role role, ready_handler handler);

void worker_need(worker_role role);            /* start it unless it runs or waits to be started again */
void worker_keep(worker_role role, bool keep); /* restart it when it ends even without jobs (registrations) */
bool worker_ready(worker_role role);
unsigned worker_generation(worker_role role);  /* of the channel open now; 0 when there is none */

/* Send a frame to the worker if it is ready. False if it is not, or too much waits to be sent to it. */
bool worker_send(worker_role role, const frame_writer *f);
/* The channel of a ready worker, for who needs more than worker_send; else NULL. */
channel *worker_channel(worker_role role);

/* End this worker at once (it hangs, broke the protocol) and, if it is wanted, start another. */
void worker_fail(worker_role role, const char *reason);

#endif
