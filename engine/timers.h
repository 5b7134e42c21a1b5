/* timers.h: timers that go by the monotonic clock, on the main thread.
 *
 * The server's own go by the time of day. Where that is set back, all of them wait until it is again what it was, the
 * zero-delay ones too, by which everything that workers say is heard; where it is set forward, they go off at once. */
#ifndef KEYMISS_TIMERS_H
#define KEYMISS_TIMERS_H

#include <stdbool.h>

#include "redis_api.h"

typedef struct timer {
    RedisModuleTimerID id;
    uint64_t due_us; /* monotonic */
    RedisModuleTimerProc fn;
    void *arg;
    bool runs;
    bool armed; /* in the server: not while it waits to be, behind going off too early */
    struct timer *previous, *next; /* of those that run */
} timer;

void timers_init(RedisModuleCtx *ctx);
int timers_listen(RedisModuleCtx *ctx);

/* Call fn(ctx, arg) once, in so many milliseconds, instead of what the timer was to do until now. It stays where it is in
 * memory until then, or until it is stopped. */
void timer_start(timer *t, long long ms, RedisModuleTimerProc fn, void *arg);
/* Does nothing to one that does not run. */
void timer_stop(timer *t);

#endif
