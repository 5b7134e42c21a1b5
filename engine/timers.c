/* timers.c: see timers.h. */
#include "timers.h"

enum {
    EARLY_US = 1000,     /* the server's timers count milliseconds */
    SET_BACK_US = 50000, /* less is waited for */
};

static RedisModuleCtx *server;
static timer *first;          /* of those that run */
static long long calendar_us; /* what the time of day was ahead of the monotonic clock */
static bool arming;           /* those that went off too early: it is on its way */

static void leave(timer *t) {
    if (t->previous) t->previous->next = t->next;
    else first = t->next;
    if (t->next) t->next->previous = t->previous;
    t->runs = false;
}

static void go_off(RedisModuleCtx *ctx, void *arg);

/* For what is left of it. */
static void arm(timer *t) {
    uint64_t now = RedisModule_MonotonicMicroseconds();
    long long left_ms = t->due_us > now ? (long long)((t->due_us - now + 999) / 1000) : 0;
    t->id = RedisModule_CreateTimer(server, left_ms, go_off, t);
    t->armed = true;
}

static void disarm(timer *t) {
    if (t->armed) RedisModule_StopTimer(server, t->id, NULL);
    t->armed = false;
}

static void arm_those_that_are_not(void *unused) {
    (void)unused;
    arming = false;
    for (timer *t = first; t; t = t->next) {
        if (!t->armed) arm(t);
    }
}

/* The time of day was set forward, or back while timers go off: the server looks at it once, and then takes for due what is
 * made meanwhile. One that was armed here would go off again at once, without end. */
static void arm_later(void) {
    if (!arming) RedisModule_EventLoopAddOneShot(arm_those_that_are_not, NULL);
    arming = true;
}

static void go_off(RedisModuleCtx *ctx, void *arg) {
    timer *t = arg;
    t->armed = false;
    if (t->due_us > RedisModule_MonotonicMicroseconds() + EARLY_US) {
        arm_later();
        return;
    }
    leave(t);
    t->fn(ctx, t->arg);
}

void timer_start(timer *t, long long ms, RedisModuleTimerProc fn, void *arg) {
    timer_stop(t);
    *t = (timer){.due_us = RedisModule_MonotonicMicroseconds() + (uint64_t)ms * 1000, .fn = fn, .arg = arg, .runs = true};
    t->next = first;
    if (first) first->previous = t;
    first = t;
    arm(t);
}

void timer_stop(timer *t) {
    if (!t->runs) return;
    disarm(t);
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
        disarm(t);
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
