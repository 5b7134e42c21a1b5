/* worker.h: the two worker processes: start, greet, watch, start again.
 *
 * 1. A worker is started on first need (worker_need), or at once where its metrics port is set, and again with back-off
 *    when its channel ends while there are jobs for it, it has that port, or worker_keep says so.
 * 2. Every channel that was opened is one generation. What a frame of one generation asked for is never answered on the
 *    next one's channel.
 * 3. Handlers of frames run inside a unit (unit.h), in the order in which the frames came. */
#ifndef KEYMISS_WORKER_H
#define KEYMISS_WORKER_H

#include "channel.h"
#include "jobs.h"

typedef void (*verb_handler)(RedisModuleCtx *ctx, worker_role role, const frame *f); /* f: the whole frame */
typedef void (*ready_handler)(RedisModuleCtx *ctx, worker_role role);

void worker_init(RedisModuleCtx *ctx);
int worker_listen(RedisModuleCtx *ctx); /* to the server's events */
void worker_begin(void); /* the module is loaded: start those that show metrics once the server serves */
const char *worker_name(worker_role role); /* "functions", "models" */

/* Handle frames of this verb; one with fewer than min_parts elements (the verb counts) ends the channel. */
void worker_on_verb(worker_role role, const char *verb, size_t min_parts, verb_handler handler);
/* Called each time the worker has said READY, before any job is sent to it: registrations go here. */
void worker_on_ready(worker_role role, ready_handler handler);

/* Called, by one only, each time what waits for the worker is to fail, since it cannot be started. */
void worker_on_unstartable(worker_role role, ready_handler handler);

void worker_need(worker_role role);            /* start it, unless it runs or waits to be started again */
void worker_need_now(worker_role role);        /* the same without the wait: the main thread is about to wait for it */
void worker_keep(worker_role role, bool keep); /* start it again when it ends even if there are no jobs (registrations) */
bool worker_ready(worker_role role);
uint64_t worker_heard_us(worker_role role);    /* when it said something last, by the monotonic clock; 0: it does not run */
unsigned worker_generation(worker_role role);  /* of the channel open now; 0 when there is none */

channel *worker_channel(worker_role role);     /* of a worker that is ready; else NULL */
bool worker_reads(worker_role role);            /* it is ready, and has answered when it was last asked for a sign of life */
channel *worker_open_channel(worker_role role); /* also of one that is starting */
/* Send a frame to the worker if it is ready. False if it is not, too much waits to be sent to it, or the frame is longer
 * than keymiss.max-frame-bytes, on which a worker would end. */
bool worker_send(worker_role role, const frame_writer *f);
/* The same of what it must know, and is not told again while it runs: however much waits. False for a frame that is too
 * long only. */
bool worker_tell(worker_role role, const frame_writer *f);

/* End this worker (it hangs, or broke the protocol) in the next unit and, if it is wanted, start another. */
void worker_fail(worker_role role, const char *why);

#endif
