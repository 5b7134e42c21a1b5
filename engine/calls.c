/* calls.c: see calls.h.
 *
 * A CALL runs with the hooks off (the command filter does not see the module's own calls), but for what is given to
 * register(hook=...); it is propagated, respects maxmemory and min-replicas-to-write, and may not write on a read-only
 * replica, or while clients are paused. A function runs it as itself, whom nothing is denied; a script of the models worker
 * as the user whose command runs the script, and is refused what would have to wait for a worker. */
#include "calls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "command_facts.h"
#include "hooks.h"
#include "log.h"
#include "memory.h"
#include "nested.h"
#include "settings.h"
#include "unit.h"
#include "users.h"
#include "worker.h"

enum {
    ARGV_ON_STACK = 32,
    SCRIPT_MODE_SAFE_VERSION = 0x070003, /* before, Redis crashed at an "S" outside a client's command */
};

typedef struct running_call {
    asker from;
    job_id job;    /* 0: of none */
    bool deferred; /* its RESULT comes later: see calls_defer */
    struct running_call *outer;
} running_call;

static running_call *running; /* innermost */
static run_handler on_run_handler;

bool calls_job(worker_role role, slice id, job_id *job, job_facts *facts) {
    long long n;
    *facts = (job_facts){0};
    if (!slice_number(id, &n) || n < 0) return false;
    *job = (job_id)n;
    if (n == 0) return role == WORKER_FUNCTIONS;
    if (!job_find(*job, facts) || facts->role != role) return false;
    return role == WORKER_FUNCTIONS || facts->kind == JOB_DAG; /* where scripts run */
}

/* Commands that make no sense without a connection of one's own, or that the server cannot run for a module (WAIT stops
 * Redis 7.0 with an assertion). SUBSCRIBE, its like and MONITOR the server refuses itself, in words that are known. */
static bool needs_connection(slice command) {
    static const char *const names[] = {"wait", "waitaof", "sync",  "psync",   "replconf", "hello",
                                        "auth", "reset",   "quit",  "multi",   "exec",     "discard",
                                        "watch", "unwatch", "unsubscribe", "punsubscribe", "sunsubscribe", "shutdown"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (slice_is_word(command, names[i])) return true;
    }
    return false;
}

static bool is_subcommand(const slice *parts, size_t count, const char *command, const char *subcommand) {
    return count > 1 && slice_is_word(parts[0], command) && slice_is_word(parts[1], subcommand);
}

/* What was written in the same unit is propagated at its end, and may not be any more. */
static bool pauses_clients(const slice *parts, size_t count) {
    return slice_is_word(parts[0], "failover") || is_subcommand(parts, count, "client", "pause");
}

/* The server frees them at once, the one whose command waits among them. */
static bool kills_clients(const slice *parts, size_t count) {
    return is_subcommand(parts, count, "client", "kill");
}

/* Valkey 8.0 looks at the connection of whoever asks for CLUSTER SLOTS, and crashes where that is a module and no client has
 * asked before. */
static bool crashes_server(RedisModuleCtx *ctx, const slice *parts, size_t count) {
    if (!is_subcommand(parts, count, "cluster", "slots")) return false;
    RedisModuleServerInfoData *info = RedisModule_GetServerInfo(ctx, "server");
    bool valkey = RedisModule_ServerInfoGetFieldC(info, "valkey_version") != NULL;
    RedisModule_FreeServerInfo(ctx, info);
    return valkey;
}

/* Commands that a worker has to answer. A function waits for them by itself; a script cannot: the worker that runs it may
 * be the one that it would wait for. */
static const char *instead_of(slice command) {
    static const struct {
        const char *name, *instead;
    } commands[] = {
        {"ai.modelexecute", "redisAI.model_execute runs a model"},
        {"ai.modelrun", "redisAI.model_execute runs a model"},
        {"ai.scriptexecute", "a function of this script can be called by its name"},
        {"ai.scriptrun", "a function of this script can be called by its name"},
        {"ai.dagexecute", "redisAI.model_execute runs a model, and a DAG can have several scripts"},
        {"ai.dagexecute_ro", "redisAI.model_execute runs a model, and a DAG can have several scripts"},
        {"ai.dagrun", "redisAI.model_execute runs a model, and a DAG can have several scripts"},
        {"ai.dagrun_ro", "redisAI.model_execute runs a model, and a DAG can have several scripts"},
        {"ai.modelstore", "store it before the script runs"},
        {"ai.modelset", "store it before the script runs"},
        {"ai.scriptstore", "store it before this one runs"},
        {"ai.scriptset", "store it before this one runs"},
    };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (slice_is_word(command, commands[i].name)) return commands[i].instead;
    }
    bool is_gears = command.len > 3 && slice_is_word((slice){command.data, 3}, "rg.");
    return is_gears ? "a function can run the script, with redisAI.createScriptRunner" : NULL;
}

/* What is wrong with a command whoever wants to run it; NULL is nothing. */
static const char *refusal(RedisModuleCtx *ctx, const slice *parts, size_t count) {
    if (count == 0 || parts[0].len == 0) return "ERR no command given";
    if (memchr(parts[0].data, 0, parts[0].len)) return "ERR unknown command";
    if (needs_connection(parts[0])) {
        return "ERR this command cannot be run by a function or a script: it acts on a client's connection";
    }
    if (pauses_clients(parts, count)) return "ERR this command cannot be run by a function or a script: it pauses clients";
    if (nested_in_command() && kills_clients(parts, count)) {
        return "ERR this command cannot be run while a command waits for the function: it may end the client of that";
    }
    if (crashes_server(ctx, parts, count)) {
        return "ERR CLUSTER SLOTS cannot be run by a function or a script on this server: CLUSTER SHARDS can";
    }
    return NULL;
}

typedef struct call {
    asker from;
    job_id job;
    RedisModuleString *user_name; /* NULL: nothing is denied */
    RedisModuleUser *user;        /* of that name */
    int context_flags;
    const char *hook; /* the command to run this one with, or NULL */
    const slice *parts;
    size_t count;
} call;

static bool evicts(const call *c) {
    return c->context_flags & REDISMODULE_CTX_FLAGS_EVICT;
}

/* Where clients are paused the server waits for this command's function or script: else it would not run yet. */
static const char *refusal_now(RedisModuleCtx *ctx, const call *c) {
    bool held = unit_is_held(), full = (c->context_flags & REDISMODULE_CTX_FLAGS_OOM) && !evicts(c);
    if (!held && !full) return NULL;
    command_facts facts = command_facts_of(ctx, c->parts, c->count);
    if (held && facts.may_propagate) return UNIT_HELD_ERROR;
    return full && facts.denied_when_full ? "OOM command not allowed when used memory > 'maxmemory'." : NULL;
}

static RedisModuleCallReply *call_in_mode(RedisModuleCtx *ctx, const char *name, const char *mode, const char *how,
                                          RedisModuleString **argv, size_t argc) {
    char format[12];
    snprintf(format, sizeof(format), "!E%s%sv", mode, how);
    errno = 0;
    return RedisModule_Call(ctx, name, format, argv, argc);
}

/* As a script's commands ("S"), of which those that write are refused where replicas are missing or the disk fails. What no
 * script may run, a function may; but inside a script, where the server stops on an assertion at a second one. */
static RedisModuleCallReply *call_like_script(RedisModuleCtx *ctx, const call *c, const char *name, const char *how,
                                              bool in_script, RedisModuleString **argv, size_t argc) {
    bool safe = in_script || RedisModule_GetServerVersion() >= SCRIPT_MODE_SAFE_VERSION;
    RedisModuleCallReply *reply = call_in_mode(ctx, name, safe ? "S" : "", how, argv, argc);
    bool refused = errno == ESPIPE; /* for being no command for scripts, among other reasons */
    if (!refused || in_script || c->hook || !command_facts_of(ctx, c->parts, c->count).denied_to_scripts) return reply;
    if (reply) RedisModule_FreeCallReply(reply);
    return call_in_mode(ctx, name, "", how, argv, argc);
}

/* Gives the reply, unless that comes later. "M": refused where the last client's command found no memory, and none to be had by
 * evicting, which only clients' commands do. Where there is nothing to evict that would be too old, and is not asked. */
static void call_server(RedisModuleCtx *ctx, const call *c, const char *name, RedisModuleString **argv, size_t argc) {
    running_call now = {.from = c->from, .job = c->job, .outer = running};
    running = &now;
    bool in_script = c->context_flags & REDISMODULE_CTX_FLAGS_LUA;
    bool read_only = c->context_flags & REDISMODULE_CTX_FLAGS_READONLY;
    char how[4];
    snprintf(how, sizeof(how), "%s%s%s", evicts(c) ? "M" : "", read_only ? "W" : "", c->user ? "C" : "");
    if (c->user) RedisModule_SetContextUser(ctx, c->user);
    RedisModuleCallReply *reply = call_like_script(ctx, c, name, how, in_script, argv, argc);
    if (c->user) RedisModule_SetContextUser(ctx, NULL);
    running = now.outer;

    size_t len = 0;
    const char *proto = reply && !now.deferred ? RedisModule_CallReplyProto(reply, &len) : NULL;
    if (len > 0) asker_result(c->from, proto, len);
    else if (!now.deferred) asker_result_error(c->from, "ERR the command gave no reply");
    if (reply) RedisModule_FreeCallReply(reply);
}

static void run_command(RedisModuleCtx *ctx, const call *c) {
    RedisModuleString *on_stack[ARGV_ON_STACK];
    RedisModuleString **argv = c->count <= ARGV_ON_STACK ? on_stack : memory.alloc(c->count * sizeof(*argv));
    char *original = memory.alloc(c->parts[0].len + 1);
    memcpy(original, c->parts[0].data, c->parts[0].len);
    original[c->parts[0].len] = 0;
    size_t skipped = c->hook ? 0 : 1, argc = c->count - skipped;
    for (size_t i = 0; i < argc; i++) {
        const slice *part = &c->parts[i + skipped];
        argv[i] = RedisModule_CreateString(NULL, part->data, part->len);
    }

    const char *name = c->hook ? c->hook : original;
    const char *error = refusal_now(ctx, c);
    if (error) {
        asker_result_error(c->from, error);
    } else if (c->user && users_may_run(ctx, c->user_name, name, argv, argc) == USERS_MAY_NOT) {
        asker_result_error(c->from, USERS_NO_PERMISSION);
    } else {
        call_server(ctx, c, name, argv, argc);
    }
    for (size_t i = 0; i < argc; i++) RedisModule_FreeString(NULL, argv[i]);
    if (argv != on_stack) memory.free(argv);
    memory.free(original);
}

/* CALL <seq> <job> <argv>... */
static void on_call(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    call c = {.parts = f->parts + 3, .count = f->count - 3};
    job_id job;
    job_facts facts;
    const char *error;
    if (!asker_read(role, f->parts[1], &c.from)) {
        worker_fail(role, "it sent a CALL without a number");
    } else if (!calls_job(role, f->parts[2], &job, &facts)) {
        asker_result_error(c.from, "ERR the job that this command belongs to has ended");
    } else if ((error = refusal(ctx, c.parts, c.count)) != NULL) {
        asker_result_error(c.from, error);
    } else if (role == WORKER_MODELS && (error = instead_of(c.parts[0])) != NULL) {
        char text[256];
        snprintf(text, sizeof(text), "ERR %.*s cannot be run by a script, which cannot wait for it: %s",
                 (int)c.parts[0].len, c.parts[0].data, error);
        asker_result_error(c.from, text);
    } else if ((error = users_open(facts.user, &c.user)) != NULL) {
        asker_result_error(c.from, error);
    } else {
        RedisModule_SelectDb(ctx, facts.db);
        c.job = job;
        c.user_name = facts.user;
        c.context_flags = RedisModule_GetContextFlags(ctx);
        /* What RG.PYEXECUTE runs is hooked like clients, and its parts on other shards (no job) fire functions; what an event
         * fired is not: a hook's own GET would come back to it. */
        bool by_command = job != 0 && facts.kind == JOB_COMMAND;
        c.hook = job == 0 || by_command ? hooks_of_call(c.parts[0], by_command) : NULL;
        run_command(ctx, &c);
        users_close(c.user);
    }
}

/* RUN <seq> <job> <deadline_ms> <key> <n> (<dtype> <shape> <data>)*n */
static void on_run(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    run_request request = {.key = f->parts[4]};
    job_facts facts;
    long long count;
    if (!asker_read(role, f->parts[1], &request.from)) {
        worker_fail(role, "it sent a RUN without a number");
    } else if (!slice_number(f->parts[3], &request.deadline_ms) || request.deadline_ms < 0 ||
               !slice_number(f->parts[5], &count) || count < 0 || (f->count - 6) % 3 != 0 ||
               (unsigned long long)count != (f->count - 6) / 3) {
        asker_outputs_error(request.from, "ERR malformed RUN");
    } else if (!calls_job(role, f->parts[2], &request.job, &facts)) {
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
    if (!asker_read(role, f->parts[1], &from)) {
        worker_fail(role, "it sent a BEGIN without a number");
        return;
    }
    if (!calls_job(role, f->parts[2], &job, &facts)) {
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
        log_note(LEVEL_WARNING,
                 "an atomic section did not end in time (keymiss.sync-timeout-ms): others are served again");
        break;
    case NESTED_TOO_DEEP:
        log_note(LEVEL_WARNING, "an atomic section lies too deep in others: it is not atomic");
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
    if (!running || running->deferred || running->from.role == WORKER_MODELS) return false;
    *out = running->from;
    return true;
}

job_id calls_current_job(void) {
    return running ? running->job : 0;
}

bool calls_of(worker_role role) {
    const running_call *c = running;
    while (c && c->from.role != role) c = c->outer;
    return c != NULL;
}

void calls_defer(void) {
    running->deferred = true;
}

void calls_init(RedisModuleCtx *ctx) {
    (void)ctx;
    worker_on_verb(WORKER_FUNCTIONS, "CALL", 3, on_call);
    worker_on_verb(WORKER_MODELS, "CALL", 3, on_call);
    worker_on_verb(WORKER_FUNCTIONS, "RUN", 6, on_run);
    worker_on_verb(WORKER_FUNCTIONS, "BEGIN", 3, on_begin);
    worker_on_verb(WORKER_FUNCTIONS, "END", 2, on_end);
}
