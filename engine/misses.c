/* misses.c
 *
 * 1. A miss waits for flights; a flight is one job, and several misses may wait for it (single flight).
 * 2. A miss whose client is blocked is kept until the last of its flights has ended, also when the client has left: they
 *    go on, since a function may fill a cache. Its waiter then frees it.
 * 3. A flight is freed when its job ends, and is in the table of those that can be joined until then. */
#include "misses.h"

#include "errors.h"
#include "info.h"
#include "job_flags.h"
#include "reply.h"
#include "stages.h"

#include <string.h>

struct miss {
    RedisModuleString **argv; /* valid while the command runs only */
    int argc;
    int context_flags;
    unsigned long long number; /* of the command, for the worker: only one of its functions may override the reply */
    size_t open;  /* flights that have not ended */
    bool blocked; /* the command is over, its client waits; argv is gone and plain is a copy */
    bool missed;  /* its key was not there: what INFO calls a miss */
    uint64_t seen_us, heard_us; /* of the command, and of the last answer; 0: its stages are not measured, none came */
    waiter *waiting;
    slice plain;
    char *override; /* a RESP2 value */
    size_t override_len;
    char *error; /* of the first function that could not be run to its end */
    error_kind blame; /* for what the client is answered */
};

typedef struct flight {
    miss **misses;
    size_t count;
    bool shared;
    unsigned long hash;
    frame_writer what; /* shared: registration, database, key and command */
    struct flight *next;
} flight;

enum { FLIGHT_BUCKETS = 4096 };
static flight **in_flight;

static struct {
    unsigned long long misses, overridden, failed, joined;
    unsigned long long waiting;
} stats;

static char *copied(const char *data, size_t len) {
    char *p = RedisModule_Alloc(len + 1);
    if (len) memcpy(p, data, len);
    p[len] = '\0';
    return p;
}

miss *miss_new(RedisModuleString **argv, int argc, int context_flags, slice plain, bool several, bool missed) {
    static unsigned long long last_number;
    miss *m = RedisModule_Calloc(1, sizeof *m);
    m->argv = argv;
    m->argc = argc;
    m->context_flags = context_flags;
    m->plain = plain;
    if (several) m->number = ++last_number;
    m->missed = missed;
    stats.misses += missed;
    if (missed && !job_flags_deny_blocking(context_flags)) m->seen_us = stage_command_seen_us();
    return m;
}

static void miss_free(miss *m) {
    if (m->blocked) RedisModule_Free((char *)(uintptr_t)m->plain.data);
    RedisModule_Free(m->override);
    RedisModule_Free(m->error);
    RedisModule_Free(m);
}

static void miss_free_answered(void *arg) {
    stats.waiting--;
    miss_free(arg);
}

static int miss_reply(RedisModuleCtx *ctx, void *arg) {
    miss *m = arg;
    errors_count(m->blame);
    if (m->seen_us && m->heard_us) stage_add(STAGE_REPLY, RedisModule_MonotonicMicroseconds() - m->heard_us);
    if (m->override) return reply_with_resp(ctx, (slice){m->override, m->override_len});
    if (m->error) return RedisModule_ReplyWithError(ctx, m->error);
    return reply_with_server_value(ctx, m->plain);
}

static void miss_finish(miss *m) {
    if (m->override) {
        stats.overridden += m->missed;
    } else if (m->error) {
        stats.failed++;
    }
    if (!m->blocked) return;
    if (m->waiting) {
        waiter_finish(m->waiting, miss_reply, m, miss_free_answered);
    } else {
        miss_free_answered(m);
    }
}

static void miss_fail(miss *m, const char *error, error_kind blame) {
    if (m->error) return;
    m->error = copied(error, strlen(error));
    if (!m->override) m->blame = blame;
}

/* What one function's end means for the command: one that raised has an empty reply, like one that overrode nothing. */
static void miss_note(miss *m, const job_result *result) {
    if (result->end != JOB_DONE) {
        miss_fail(m, result->error, result->blame);
        return;
    }
    m->heard_us = result->heard_us;
    slice reply = result->done.count > 0 ? result->done.parts[0] : (slice){"", 0};
    if (m->override || reply.len == 0) return;
    m->override = copied(reply.data, reply.len);
    m->override_len = reply.len;
    m->blame = result->blame;
}

/* Flights. */

static unsigned long hash_bytes(const char *data, size_t len) {
    unsigned long h = 2166136261u;
    for (size_t i = 0; i < len; i++) h = ((h ^ (unsigned char)data[i]) * 16777619u) & 0xffffffffu;
    return h;
}

/* The same miss: of the same registration, database, key and command, in whatever case its name was typed. */
static void write_what(frame_writer *what, const miss *m, const event *e) {
    frame_init(what);
    frame_add(what, e->registration->id.data, e->registration->id.len);
    frame_add_number(what, e->db);
    frame_append(what, &e->record);
    for (int i = 0; i < m->argc; i++) {
        size_t len;
        const char *text = RedisModule_StringPtrLen(m->argv[i], &len);
        size_t start = what->len;
        frame_add(what, text, len);
        for (size_t j = start; i == 0 && j < what->len; j++) what->data[j] = ascii_lower(what->data[j]);
    }
}

static flight *flight_find(unsigned long hash, const frame_writer *what) {
    flight *f = in_flight[hash % FLIGHT_BUCKETS];
    while (f && !(f->hash == hash && f->what.len == what->len && memcmp(f->what.data, what->data, what->len) == 0)) {
        f = f->next;
    }
    return f;
}

static void flight_join(flight *f, miss *m) {
    /* Grown by doubling: thousands may wait for one answer. */
    if ((f->count & (f->count - 1)) == 0) {
        f->misses = RedisModule_Realloc(f->misses, (f->count ? 2 * f->count : 1) * sizeof(miss *));
    }
    f->misses[f->count++] = m;
    m->open++;
}

static void flight_free(flight *f) {
    if (f->shared) {
        flight **link = &in_flight[f->hash % FLIGHT_BUCKETS];
        while (*link != f) link = &(*link)->next;
        *link = f->next;
        frame_free(&f->what);
    }
    RedisModule_Free(f->misses);
    RedisModule_Free(f);
}

static void flight_ended(RedisModuleCtx *ctx, const job_result *result, void *arg) {
    (void)ctx;
    flight *f = arg;
    for (size_t i = 0; i < f->count; i++) {
        miss *m = f->misses[i];
        miss_note(m, result);
        if (--m->open == 0) miss_finish(m);
    }
    flight_free(f);
}

static flight *flight_new(void) {
    return RedisModule_Calloc(1, sizeof(flight));
}

static void flight_share(flight *f, unsigned long hash, const frame_writer *what) {
    f->shared = true;
    f->hash = hash;
    f->what = *what;
    f->next = in_flight[hash % FLIGHT_BUCKETS];
    in_flight[hash % FLIGHT_BUCKETS] = f;
}

void miss_start(miss *m, const event *e) {
    frame_writer what;
    unsigned long hash = 0;
    bool share = e->is_miss && e->registration->single_flight;
    if (share) {
        write_what(&what, m, e);
        hash = hash_bytes(what.data, what.len);
        flight *f = flight_find(hash, &what);
        if (f) {
            stats.joined++;
            frame_free(&what);
            flight_join(f, m);
            return;
        }
    }
    flight *f = flight_new();
    event_job job = {.kind = JOB_MISS, .context_flags = m->context_flags, .command = m->number, .argv = m->argv, .argc = m->argc,
                     .seen_us = e->is_miss ? m->seen_us : 0, .callback = flight_ended, .arg = f};
    const char *error;
    if (share) flight_share(f, hash, &what);
    if (event_submit(e, &job, &error) == 0) {
        miss_fail(m, error, error_kind_refused(error));
        flight_free(f);
        return;
    }
    flight_join(f, m);
}

static void sync_ended(RedisModuleCtx *ctx, const job_result *result, void *arg) {
    (void)ctx;
    miss_note(arg, result);
}

void miss_run_sync(RedisModuleCtx *ctx, miss *m, const event *e) {
    event_job job = {.kind = JOB_MISS, .context_flags = m->context_flags, .command = m->number, .argv = m->argv, .argc = m->argc,
                     .callback = sync_ended, .arg = m};
    const char *error = NULL;
    event_run_sync(ctx, e, &job, &error);
    if (error) miss_fail(m, error, error_kind_refused(error));
}

int miss_answer(RedisModuleCtx *ctx, miss *m) {
    if (m->open == 0) {
        int result = miss_reply(ctx, m);
        miss_finish(m);
        miss_free(m);
        return result;
    }
    m->plain.data = copied(m->plain.data, m->plain.len);
    m->argv = NULL;
    m->argc = 0;
    m->blocked = true;
    m->waiting = waiter_new(ctx, "ERR a function's answer cannot be waited for here");
    stats.waiting++;
    return REDISMODULE_OK;
}

static void write_info(RedisModuleInfoCtx *info) {
    RedisModule_InfoAddFieldULongLong(info, "misses", stats.misses);
    RedisModule_InfoAddFieldULongLong(info, "misses_overridden", stats.overridden);
    RedisModule_InfoAddFieldULongLong(info, "misses_failed", stats.failed);
    RedisModule_InfoAddFieldULongLong(info, "misses_waiting", stats.waiting);
    RedisModule_InfoAddFieldULongLong(info, "single_flight_savings", stats.joined);
}

void misses_init(void) {
    in_flight = RedisModule_Calloc(FLIGHT_BUCKETS, sizeof(flight *));
    info_section("misses", write_info);
}
