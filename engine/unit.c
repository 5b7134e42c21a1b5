/* unit.c: the queue of what must run as a unit of execution, and the zero-delay timer that runs it. */
#include "unit.h"

#include "memory.h"
#include "timers.h"

/* A unit gives the main thread back after so long; the rest runs in the next turn of the event loop. */
enum { UNIT_BUDGET_US = 2000 };

enum { HELD_MS = 10 }; /* how often units that are held look whether they still are */

typedef struct entry {
    unit_function fn; /* NULL: removed */
    void *arg;
} entry;

static struct {
    RedisModuleCtx *server;  /* detached, lives as long as the module */
    RedisModuleCtx *running; /* see unit_context */
    uint64_t started_us;     /* of the running unit */
    entry *entries;          /* ring */
    size_t first, count, cap; /* cap is a power of two */
    timer timer;
    bool armed;              /* the timer, or what arms it, is on its way */
} unit;

static void run(RedisModuleCtx *ctx, void *unused);

static void arm(void *unused) {
    (void)unused;
    timer_start(&unit.timer, 0, run, NULL);
}

static void run(RedisModuleCtx *ctx, void *unused) {
    (void)unused;
    if (unit_is_held()) {
        timer_start(&unit.timer, HELD_MS, run, NULL);
        return;
    }
    unit.running = ctx;
    unit.started_us = RedisModule_MonotonicMicroseconds();
    while (unit.count > 0 && !unit_is_long()) {
        entry e = unit.entries[unit.first];
        unit.first = (unit.first + 1) & (unit.cap - 1);
        unit.count--;
        if (e.fn) e.fn(ctx, e.arg);
    }
    unit.running = NULL;
    unit.armed = unit.count > 0;
    /* A zero-delay timer made inside a timer would wait for the next millisecond: come back through the loop. */
    if (unit.armed) RedisModule_EventLoopAddOneShot(arm, NULL);
}

void unit_init(RedisModuleCtx *ctx) {
    unit.server = RedisModule_GetDetachedThreadSafeContext(ctx);
    unit.cap = 64;
    unit.entries = memory.alloc(unit.cap * sizeof(entry));
}

static void grow(void) {
    entry *entries = memory.alloc(unit.cap * 2 * sizeof(entry));
    for (size_t i = 0; i < unit.count; i++) entries[i] = unit.entries[(unit.first + i) & (unit.cap - 1)];
    memory.free(unit.entries);
    unit.entries = entries;
    unit.first = 0;
    unit.cap *= 2;
}

void unit_add(unit_function fn, void *arg) {
    if (unit.count == unit.cap) grow();
    unit.entries[(unit.first + unit.count++) & (unit.cap - 1)] = (entry){fn, arg};
    if (unit.armed) return;
    unit.armed = true;
    arm(NULL);
}

void unit_remove(void *arg) {
    for (size_t i = 0; i < unit.count; i++) {
        entry *e = &unit.entries[(unit.first + i) & (unit.cap - 1)];
        if (e->arg == arg) e->fn = NULL;
    }
}

RedisModuleCtx *unit_context(void) {
    return unit.running;
}

RedisModuleCtx *unit_server_context(void) {
    return unit.server;
}

bool unit_is_held(void) {
    return RedisModule_AvoidReplicaTraffic();
}

bool unit_is_long(void) {
    return RedisModule_MonotonicMicroseconds() - unit.started_us > UNIT_BUDGET_US;
}

RedisModuleCtx *unit_enter(RedisModuleCtx *ctx) {
    RedisModuleCtx *previous = unit.running;
    unit.running = ctx;
    return previous;
}

void unit_leave(RedisModuleCtx *previous) {
    unit.running = previous;
}
