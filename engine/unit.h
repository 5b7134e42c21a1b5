/* unit.h: run things as a proper unit of execution.
 *
 * What runs straight from the server's event loop may not call commands that write: they would not be propagated and
 * Redis 7.0 stops on an assertion later. What runs from a timer of the module may. So everything that comes in on a
 * channel, and everything put off, runs from one zero-delay timer, in order.
 *
 * While clients are paused (CLIENT PAUSE, FAILOVER, a SHUTDOWN that waits for its replicas) the data must stay as it is: the
 * server stops on an assertion where anything is propagated. So all units wait until that is over. */
#ifndef KEYMISS_UNIT_H
#define KEYMISS_UNIT_H

#include "redis_api.h"

typedef void (*unit_function)(RedisModuleCtx *ctx, void *arg);

void unit_init(RedisModuleCtx *ctx);

/* Run fn(ctx, arg) in the next unit, after everything added before it. Never runs it at once. */
void unit_add(unit_function fn, void *arg);
/* Forget what was added with this argument. */
void unit_remove(void *arg);

/* The context of the unit that runs now, or of the command or notification that waits (job_wait); NULL outside. */
RedisModuleCtx *unit_context(void);

/* A context to create timers, select the server's facts and log with; good at any time on the main thread, but never
 * for running commands. */
RedisModuleCtx *unit_server_context(void);

/* True while clients are paused. What runs then nevertheless, inside a command that only reads, may not write. */
bool unit_is_held(void);
#define UNIT_HELD_ERROR "ERR nothing may be written while clients are paused (CLIENT PAUSE, FAILOVER, SHUTDOWN)"

/* True when the running unit has used its share of the main thread: stop here and unit_add the rest. */
bool unit_is_long(void);

/* job_wait makes its caller's context the unit's; both calls in pairs. */
RedisModuleCtx *unit_enter(RedisModuleCtx *ctx); /* returns what unit_leave wants back */
void unit_leave(RedisModuleCtx *previous);

#endif
