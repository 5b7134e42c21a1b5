/* calls.c: see calls.h.
 *
 * A CALL runs with the hooks off (the command filter does not see the module's own calls), but for what a script gives to
 * register(hook=...); it is propagated, respects maxmemory, and may not write on a read-only replica or for a job that
 * was fired inside a read command. */
#include "calls.h"

#include <stdio.h>
#include <string.h>

#include "hooks.h"
#include "memory.h"
#include "nested.h"
#include "settings.h"
#include "worker.h"

enum { ARGV_ON_STACK = 32 };

typedef struct running_call {
    asker from;
    bool deferred;
    struct running_call *outer;
} running_call;

static running_call *running; /* innermost */
static run_handler on_run_handler;

bool asker_read(slice seq, asker *out) {
    long long n;
    if (!slice_number(seq, &n) || n < 0) return false;
    *out = (asker){worker_generation(WORKER_FUNCTIONS), (unsigned long long)n};
    return true;
}

static channel *asker_channel(asker a) {
    return worker_generation(WORKER_FUNCTIONS) == a.generation ? worker_channel(WORKER_FUNCTIONS) : NULL;
}

static slice text_slice(const char *text) {
    return (slice){text, strlen(text)};
}

/* A number as an element. */
typedef struct number_text {
    char digits[24];
} number_text;

static slice number_slice(number_text *t, unsigned long long n) {
    int len = snprintf(t->digits, sizeof(t->digits), "%llu", n);
    return (slice){t->digits, (size_t)len};
}

void asker_result(asker a, const char *reply, size_t len) {
    channel *c = asker_channel(a);
    if (!c) return;
    number_text seq;
    const slice parts[] = {{"RESULT", 6}, number_slice(&seq, a.seq), {reply, len}};
    if (channel_send_slices(c, parts, 3, false)) return;
    const slice refusal[] = {parts[0], parts[1], text_slice("-BUSY the reply does not fit the channel\r\n")};
    channel_send_slices(c, refusal, 3, true);
}

void asker_result_ok(asker a) {
    asker_result(a, "+OK\r\n", 5);
}

void asker_result_error(asker a, const char *error) {
    char line[512];
    int len = snprintf(line, sizeof(line), "-%.500s\r\n", error);
    asker_result(a, line, (size_t)len);
}

void asker_outputs(asker a, slice reply, const slice *parts, size_t n) {
    channel *c = asker_channel(a);
    if (!c) return;
    number_text seq, count;
    slice *all = memory.alloc((4 + 3 * n) * sizeof(*all));
    all[0] = text_slice("OUTPUTS");
    all[1] = number_slice(&seq, a.seq);
    all[2] = reply;
    all[3] = number_slice(&count, n);
    if (n) memcpy(all + 4, parts, 3 * n * sizeof(*all));
    if (!channel_send_slices(c, all, 4 + 3 * n, false)) {
        all[2] = text_slice("-BUSY the outputs do not fit the channel\r\n");
        all[3] = text_slice("0");
        channel_send_slices(c, all, 4, true);
    }
    memory.free(all);
}

void asker_outputs_error(asker a, const char *error) {
    char line[512];
    int len = snprintf(line, sizeof(line), "-%.500s\r\n", error);
    asker_outputs(a, (slice){line, (size_t)len}, NULL, 0);
}

/* The <job> of a frame: 0 is no job. False if the job has ended. */
static bool read_job(slice id, job_id *job, job_facts *facts) {
    long long n;
    *facts = (job_facts){0};
    if (!slice_number(id, &n) || n < 0) return false;
    *job = (job_id)n;
    return n == 0 || job_find(*job, facts);
}

/* Commands that make no sense without a connection of one's own, or that the server cannot run for a module (WAIT stops
 * Redis 7.0 with an assertion). */
static bool needs_connection(slice command) {
    static const char *const names[] = {"wait",       "waitaof",     "sync",       "psync",        "replconf",
                                        "monitor",    "hello",       "auth",       "reset",        "quit",
                                        "subscribe",  "psubscribe",  "ssubscribe", "unsubscribe",  "punsubscribe",
                                        "sunsubscribe", "multi",     "exec",       "discard",      "watch",
                                        "unwatch",    "shutdown"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (slice_is_word(command, names[i])) return true;
    }
    return false;
}

/* Valkey 8.0 looks at the connection of whoever asks for CLUSTER SLOTS, and crashes where that is a module and no client has
 * asked before. */
static bool crashes_server(RedisModuleCtx *ctx, const slice *parts, size_t count) {
    if (count < 2 || !slice_is_word(parts[0], "cluster") || !slice_is_word(parts[1], "slots")) return false;
    RedisModuleServerInfoData *info = RedisModule_GetServerInfo(ctx, "server");
    bool valkey = RedisModule_ServerInfoGetFieldC(info, "valkey_version") != NULL;
    RedisModule_FreeServerInfo(ctx, info);
    return valkey;
}

/* hook: the command to run this one with, or NULL. */
static void run_command(RedisModuleCtx *ctx, asker from, bool no_writes, const char *hook, const slice *parts, size_t count) {
    RedisModuleString *on_stack[ARGV_ON_STACK];
    RedisModuleString **argv = count <= ARGV_ON_STACK ? on_stack : memory.alloc(count * sizeof(*argv));
    char *original = memory.alloc(parts[0].len + 1);
    memcpy(original, parts[0].data, parts[0].len);
    original[parts[0].len] = 0;
    const char *name = hook ? hook : original;
    size_t skipped = hook ? 0 : 1, argc = count - skipped;
    for (size_t i = 0; i < argc; i++) {
        const slice *part = &parts[i + skipped];
        argv[i] = RedisModule_CreateString(NULL, part->data, part->len);
    }

    running_call call = {.from = from, .outer = running};
    running = &call;
    bool read_only = no_writes || (RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_READONLY);
    RedisModuleCallReply *reply = RedisModule_Call(ctx, name, read_only ? "!EMWv" : "!EMv", argv, argc);
    running = call.outer;

    size_t len = 0;
    const char *proto = reply && !call.deferred ? RedisModule_CallReplyProto(reply, &len) : NULL;
    if (len > 0) asker_result(from, proto, len);
    else if (!call.deferred) asker_result_error(from, "ERR the command gave no reply");
    if (reply) RedisModule_FreeCallReply(reply);
    for (size_t i = 0; i < argc; i++) RedisModule_FreeString(NULL, argv[i]);
    if (argv != on_stack) memory.free(argv);
    memory.free(original);
}

/* CALL <seq> <job> <argv>... */
static void on_call(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    asker from;
    job_id job;
    job_facts facts;
    if (!asker_read(f->parts[1], &from)) {
        worker_fail(role, "it sent a CALL without a number");
    } else if (!read_job(f->parts[2], &job, &facts)) {
        asker_result_error(from, "ERR the job that this command belongs to has ended");
    } else if (f->count == 3 || f->parts[3].len == 0) {
        asker_result_error(from, "ERR no command given");
    } else if (memchr(f->parts[3].data, 0, f->parts[3].len)) {
        asker_result_error(from, "ERR unknown command");
    } else if (needs_connection(f->parts[3])) {
        asker_result_error(from, "ERR this command cannot be run by a function: it acts on a client's connection");
    } else if (crashes_server(ctx, f->parts + 3, f->count - 3)) {
        asker_result_error(from, "ERR CLUSTER SLOTS cannot be run by a function on this server: CLUSTER SHARDS can");
    } else {
        RedisModule_SelectDb(ctx, facts.db);
        /* Scripts are hooked like clients, functions are not: a hook's own GET would come back to it. */
        const char *hook = job != 0 && facts.kind == JOB_COMMAND ? hooks_taken_over_by(f->parts[3]) : NULL;
        run_command(ctx, from, facts.no_writes, hook, f->parts + 3, f->count - 3);
    }
}

/* RUN <seq> <job> <deadline_ms> <key> <n> (<dtype> <shape> <data>)*n */
static void on_run(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    run_request request = {.key = f->parts[4]};
    job_facts facts;
    long long count;
    if (!asker_read(f->parts[1], &request.from)) {
        worker_fail(role, "it sent a RUN without a number");
    } else if (!slice_number(f->parts[3], &request.deadline_ms) || request.deadline_ms < 0 ||
               !slice_number(f->parts[5], &count) || count < 0 || (f->count - 6) % 3 != 0 ||
               (unsigned long long)count != (f->count - 6) / 3) {
        asker_outputs_error(request.from, "ERR malformed RUN");
    } else if (!read_job(f->parts[2], &request.job, &facts)) {
        asker_outputs_error(request.from, "ERR the job that this run belongs to has ended");
    } else if (!on_run_handler) {
        asker_outputs_error(request.from, "ERR models cannot be run here");
    } else {
        request.inputs = f->parts + 6;
        request.count = (size_t)count;
        RedisModule_SelectDb(ctx, facts.db);
        on_run_handler(ctx, &request);
    }
}

/* BEGIN <seq> <job> */
static void on_begin(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    asker from;
    job_id job;
    job_facts facts;
    if (!asker_read(f->parts[1], &from)) {
        worker_fail(role, "it sent a BEGIN without a number");
        return;
    }
    if (!read_job(f->parts[2], &job, &facts)) {
        asker_result_error(from, "ERR the job that wants to be atomic has ended");
        return;
    }
    uint64_t until_us = RedisModule_MonotonicMicroseconds() + (uint64_t)settings.sync_timeout_ms * 1000;
    if (facts.deadline_us && facts.deadline_us < until_us) until_us = facts.deadline_us;
    asker_result_ok(from);
    switch (nested_serve(ctx, role, job, true, until_us)) {
    case NESTED_FINISHED:
    case NESTED_LOST: break;
    case NESTED_TIMED_OUT:
        RedisModule_Log(ctx, REDISMODULE_LOGLEVEL_WARNING,
                        "an atomic section did not end in time (keymiss.sync-timeout-ms): others are served again");
        break;
    case NESTED_TOO_DEEP:
        RedisModule_Log(ctx, REDISMODULE_LOGLEVEL_WARNING, "an atomic section lies too deep in others: it is not atomic");
        break;
    }
}

/* END <job> */
static void on_end(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    (void)ctx;
    long long job;
    if (slice_number(f->parts[1], &job) && job >= 0) nested_end_section((job_id)job);
    else worker_fail(role, "it sent an END without a job's number");
}

void calls_on_run(run_handler handler) {
    on_run_handler = handler;
}

bool calls_current(asker *out) {
    if (!running || running->deferred) return false;
    *out = running->from;
    return true;
}

void calls_defer(void) {
    running->deferred = true;
}

void calls_init(RedisModuleCtx *ctx) {
    (void)ctx;
    worker_on_verb(WORKER_FUNCTIONS, "CALL", 3, on_call);
    worker_on_verb(WORKER_FUNCTIONS, "RUN", 6, on_run);
    worker_on_verb(WORKER_FUNCTIONS, "BEGIN", 3, on_begin);
    worker_on_verb(WORKER_FUNCTIONS, "END", 2, on_end);
}
