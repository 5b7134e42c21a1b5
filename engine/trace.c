/* trace.c: see trace.h.
 *
 * 1. GET runs first, as the client's own: it checks the user's rights, and errors of it are the answer. Then the first
 *    registration that a miss of the key fires is fired, whether GET found the key or not.
 * 2. The run is nobody else's: it joins no flight, and nobody joins it.
 * 3. A trace is in the list from its submission to the end of its job, and is freed by its waiter. */
#include "trace.h"

#include <string.h>
#include <time.h>

#include "events.h"
#include "hooks.h"
#include "job_flags.h"
#include "log.h"
#include "memory.h"
#include "reply.h"
#include "worker.h"

enum {
    TRACES_MAX = 64,          /* at a time: it is for people */
    PARTS_MAX = 64,           /* of one: its own worker's, and one for each run of a model */
    PART_BYTES_MAX = 1 << 16,
};

#define REFUSED_HERE "ERR KEYMISS.TRACE cannot be run inside MULTI or a script"

typedef struct trace_part {
    worker_role role;
    char *stages; /* a RESP2 value */
    size_t len;
} trace_part;

typedef struct trace {
    job_id request;
    waiter *waiter;
    bool cached;         /* the key was there */
    uint64_t began_us, submitted_us, sent_us, ended_us; /* 0: it did not come so far */
    char *reply;         /* a RESP2 value, whole; or an error, code first */
    size_t reply_len;
    bool failed;         /* it is such an error */
    trace_part parts[PARTS_MAX];
    size_t part_count;
    struct trace *next;
} trace;

static trace *traces;
static size_t trace_count;

static trace *find(job_id request) {
    trace *t = traces;
    while (t && t->request != request) t = t->next;
    return t;
}

bool trace_wants(job_id request) {
    return traces && find(request);
}

static char *copied(slice s) {
    char *p = memory.alloc(s.len + 1);
    if (s.len) memcpy(p, s.data, s.len);
    p[s.len] = 0;
    return p;
}

void trace_add(job_id request, worker_role role, slice stages) {
    trace *t = find(request);
    if (!t || t->part_count == PARTS_MAX || stages.len == 0 || stages.len > PART_BYTES_MAX) return;
    if (stages.data[0] != '*' || resp_value_length(stages.data, stages.len) != stages.len) return;
    t->parts[t->part_count++] = (trace_part){role, copied(stages), stages.len};
}

static void trace_free(void *arg) {
    trace *t = arg;
    for (size_t i = 0; i < t->part_count; i++) memory.free(t->parts[i].stages);
    memory.free(t->reply);
    memory.free(t);
}

/* How much Python's time.monotonic(), by which workers tell their stages, is ahead of the server's clock, which may be
 * another one; server_us: that says now. */
static long long ahead_us(uint64_t server_us) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000 - (long long)server_us;
}

typedef struct span {
    const char *name;
    uint64_t began_us, ended_us;
} span;

static void reply_own_stages(RedisModuleCtx *ctx, const trace *t) {
    uint64_t now_us = RedisModule_MonotonicMicroseconds(), left_us = t->sent_us ? t->sent_us : t->ended_us;
    const span spans[] = {{"hook", t->began_us, t->submitted_us}, {"queue", t->submitted_us, left_us},
                          {"function", left_us, t->ended_us}, {"reply", t->ended_us, now_us}};
    long long ahead = ahead_us(now_us);
    RedisModule_ReplyWithArray(ctx, 2);
    RedisModule_ReplyWithCString(ctx, "module");
    RedisModule_ReplyWithArray(ctx, sizeof(spans) / sizeof(spans[0]));
    for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++) {
        RedisModule_ReplyWithArray(ctx, 3);
        RedisModule_ReplyWithCString(ctx, spans[i].name);
        RedisModule_ReplyWithLongLong(ctx, (long long)spans[i].began_us + ahead);
        RedisModule_ReplyWithLongLong(ctx, (long long)spans[i].ended_us + ahead);
    }
}

static int trace_reply(RedisModuleCtx *ctx, void *arg) {
    const trace *t = arg;
    char request[REQUEST_NAME_MAX];
    RedisModule_ReplyWithArray(ctx, 8);
    RedisModule_ReplyWithCString(ctx, "request");
    RedisModule_ReplyWithCString(ctx, log_request_name(request, t->request));
    RedisModule_ReplyWithCString(ctx, "cached");
    RedisModule_ReplyWithLongLong(ctx, t->cached);
    RedisModule_ReplyWithCString(ctx, "answer");
    if (t->failed) RedisModule_ReplyWithError(ctx, t->reply);
    else if (t->reply_len == 0) RedisModule_ReplyWithNull(ctx);
    else reply_with_resp(ctx, (slice){t->reply, t->reply_len});
    RedisModule_ReplyWithCString(ctx, "stages");
    RedisModule_ReplyWithArray(ctx, (long)t->part_count + 1);
    reply_own_stages(ctx, t);
    for (size_t i = 0; i < t->part_count; i++) {
        RedisModule_ReplyWithArray(ctx, 2);
        RedisModule_ReplyWithCString(ctx, worker_name(t->parts[i].role));
        reply_with_resp(ctx, (slice){t->parts[i].stages, t->parts[i].len});
    }
    return REDISMODULE_OK;
}

static void unlist(trace *t) {
    trace **link = &traces;
    while (*link != t) link = &(*link)->next;
    *link = t->next;
    trace_count--;
}

static void trace_ended(RedisModuleCtx *ctx, const job_result *result, void *arg) {
    (void)ctx;
    trace *t = arg;
    slice reply = {"", 0};
    t->failed = result->end != JOB_DONE;
    if (t->failed) reply = (slice){result->error, strlen(result->error)};
    else if (result->done.count > 0) reply = result->done.parts[0];
    t->reply = copied(reply);
    t->reply_len = reply.len;
    t->submitted_us = result->submitted_us;
    t->sent_us = result->sent_us;
    t->ended_us = RedisModule_MonotonicMicroseconds();
    unlist(t);
    waiter_finish(t->waiter, trace_reply, t, trace_free);
}

static int start(RedisModuleCtx *ctx, const event *e, RedisModuleString **get, trace began) {
    event_job job = {.kind = JOB_MISS, .traced = true, .context_flags = RedisModule_GetContextFlags(ctx),
                     .argv = get, .argc = 2, .callback = trace_ended};
    const char *error;
    waiter *w = waiter_new(ctx, REFUSED_HERE);
    if (!w) return REDISMODULE_OK;
    trace *t = job.arg = memory.alloc(sizeof(*t));
    *t = began;
    t->waiter = w;
    t->next = traces;
    traces = t;
    trace_count++;
    t->request = event_submit(e, &job, &error);
    if (t->request) {
        waiter_set_job(w, t->request);
    } else {
        unlist(t);
        trace_free(t);
        waiter_finish_error(w, error);
    }
    return REDISMODULE_OK;
}

static bool is_error(RedisModuleCallReply *reply) {
    return !reply || RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_ERROR;
}

int trace_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    trace began = {.began_us = RedisModule_MonotonicMicroseconds()};
    if (argc != 2) return RedisModule_WrongArity(ctx);
    if (!waiter_possible(ctx)) return RedisModule_ReplyWithError(ctx, REFUSED_HERE);
    if (trace_count == TRACES_MAX) return RedisModule_ReplyWithError(ctx, "BUSY too many traces at a time");

    RedisModuleString *get[] = {RedisModule_CreateString(ctx, "GET", 3), argv[1]};
    RedisModuleCallReply *reply = hooks_run_as_client(ctx, get, 2, false);
    event *e = NULL;
    int result;
    began.cached = reply && RedisModule_CallReplyType(reply) != REDISMODULE_REPLY_NULL;
    if (is_error(reply)) {
        result = hooks_give(ctx, reply);
    } else {
        RedisModule_FreeCallReply(reply);
        e = events_miss(ctx, argv[1], (slice){"get", 3});
        result = e ? start(ctx, e, get, began) : RedisModule_ReplyWithError(ctx, "ERR no function answers this key");
    }
    if (e) event_free(e);
    RedisModule_FreeString(ctx, get[0]);
    return result;
}
