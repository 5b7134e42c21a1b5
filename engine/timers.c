/* timers.c: see timers.h. */
#include "timers.h"

enum {
    EARLY_US = 1000,     /* the server's timers count milliseconds */
    SET_BACK_US = 50000, /* less is waited for */
};

static RedisModuleCtx *server;
static timer *first;          /* of those that run */
static long long calendar_us; /* what the time of day was ahead of the monotonic clock */

static void arm(timer *t);

static void leave(timer *t) {
    if (t->previous) t->previous->next = t->next;
    else first = t->next;
    if (t->next) t->next->previous = t->previous;
    t->runs = false;
}

static void go_off(RedisModuleCtx *ctx, void *arg) {
    timer *t = arg;
    if (t->due_us > RedisModule_MonotonicMicroseconds() + EARLY_US) { /* the time of day was set forward */
        arm(t);
        return;
    }
    leave(t);
    t->fn(ctx, t->arg);
}

/* For what is left of it. */
static void arm(timer *t) {
    uint64_t now = RedisModule_MonotonicMicroseconds();
    long long left_ms = t->due_us > now ? (long long)((t->due_us - now + 999) / 1000) : 0;
    t->id = RedisModule_CreateTimer(server, left_ms, go_off, t);
}

void timer_start(timer *t, long long ms, RedisModuleTimerProc fn, void *arg) {
    timer_stop(t);
    *t = (timer){.due_us = RedisModule_MonotonicMicroseconds() + (uint64_t)ms * 1000, .fn = fn, .arg = arg, .runs = true};
    t->next = first;
    if (first) first->previous = t;
    first = t;
    t->id = RedisModule_CreateTimer(server, ms, go_off, t);
}

void timer_stop(timer *t) {
    if (!t->runs) return;
    RedisModule_StopTimer(server, t->id, NULL);
    leave(t);
}

static long long ahead_us(void) {
    return RedisModule_Milliseconds() * 1000 - (long long)RedisModule_MonotonicMicroseconds();
}

/* Some times a second. */
static void on_cron(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t subevent, void *data) {
    (void)ctx;
    (void)event;
    (void)subevent;
    (void)data;
    long long before_us = calendar_us;
    calendar_us = ahead_us();
    if (calendar_us > before_us - SET_BACK_US) return;
    for (timer *t = first; t; t = t->next) {
        RedisModule_StopTimer(server, t->id, NULL);
        arm(t);
    }
}

void timers_init(RedisModuleCtx *ctx) {
    server = RedisModule_GetDetachedThreadSafeContext(ctx);
    calendar_us = ahead_us();
}

int timers_listen(RedisModuleCtx *ctx) {
    return RedisModule_SubscribeToServerEvent(ctx, (RedisModuleEvent){REDISMODULE_EVENT_CRON_LOOP, 1}, on_cron);
}
