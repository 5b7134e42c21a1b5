/* worker.c: see worker.h for the rules.
 *
 * A worker goes OFF -> STARTING (channel open, HELLO sent) -> READY; from either back, when its channel ends, to
 * PAUSED until the back-off is over, if it is wanted, else to OFF. */
#include "worker.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "hello.h"
#include "info.h"
#include "leaving.h"
#include "log.h"
#include "process.h"
#include "settings.h"
#include "timers.h"
#include "unit.h"

enum {
    VERBS_MAX = 24,
    READY_HANDLERS_MAX = 4,
    START_PAUSE_MAX_MS = 10000,  /* a worker that cannot start costs seconds of a core each time */
    CONNECT_PAUSE_MAX_MS = 500,  /* trying to connect costs nothing */
    START_TIMEOUT_MS = 60000,    /* from HELLO to READY: a cold disk, a busy machine, a large import */
    START_PATIENCE_MS = 2000,    /* jobs wait so long for a worker that fails to start, then fail with it */
    CONNECT_PATIENCE_MS = 8000,  /* for one that is not there to connect to: whoever keeps it may be starting it again */
    GOOD_RUN_MS = 10000,         /* a worker that was ready for so long starts again with the first back-off */
    SILENT_MS = 1000,            /* with functions at work: after so long they may hold the interpreter */
    WATCH_MAX_MS = 1000,         /* PING and the deadlines of a worker are looked at so often, at least */
};

typedef enum worker_state { WORKER_OFF, WORKER_STARTING, WORKER_READY, WORKER_PAUSED } worker_state;

typedef struct verb_entry {
    const char *verb;
    size_t min_parts;
    verb_handler handler;
} verb_entry;

typedef struct worker {
    worker_role role;
    const char *name, *module;
    worker_state state;
    bool keep;           /* see worker_keep */
    channel *channel;    /* STARTING, READY */
    process process;     /* pid 0: connected to one that is not ours */
    long long pid;       /* as READY said */
    unsigned generation;
    unsigned long long starts;
    unsigned failures;   /* in a row, without a good run */
    uint64_t state_us;   /* since when in this state */
    uint64_t failing_us; /* since when it fails to start; 0: it does not */
    uint64_t ping_us;    /* when the PING without an answer was sent; 0: none */
    timer timer;         /* of the back-off or the watch */
    const char *failing; /* worker_fail was called */
    char last_error[160];
    verb_entry verbs[VERBS_MAX];
    size_t verb_count;
    ready_handler ready[READY_HANDLERS_MAX];
    size_t ready_count;
    ready_handler unstartable; /* may be NULL */
} worker;

static worker workers[WORKER_ROLES] = {
    {.role = WORKER_FUNCTIONS, .name = "functions", .module = "keymiss.functions", .process = {.handle = -1}},
    {.role = WORKER_MODELS, .name = "models", .module = "keymiss.inference", .process = {.handle = -1}},
};
static unsigned last_generation;
static const char unix_prefix[] = "unix:";

static void start(worker *w);

static uint64_t now_us(void) {
    return RedisModule_MonotonicMicroseconds();
}

/* Somebody watches it: it is to be there also while nobody needs it. */
static bool shows_metrics(const worker *w) {
    return (w->role == WORKER_MODELS ? settings.models_metrics_port : settings.metrics_port) != 0;
}

static bool wanted(const worker *w) {
    return w->keep || shows_metrics(w) || jobs_queued(w->role);
}

/* keymiss.models unix:<path>: the host's, which we only connect to. */
static bool is_shared(const worker *w) {
    return w->role == WORKER_MODELS && strncmp(settings.models, unix_prefix, strlen(unix_prefix)) == 0;
}

static void set_state(worker *w, worker_state state) {
    w->state = state;
    w->state_us = now_us();
}

static void close_worker(worker *w, int signal) {
    timer_stop(&w->timer);
    if (w->channel) channel_close(w->channel);
    w->channel = NULL;
    w->failing = NULL;
    w->generation = 0;
    w->pid = 0;
    leaving_begin(&w->process, signal);
}

static void on_pause_over(RedisModuleCtx *ctx, void *arg) {
    (void)ctx;
    worker *w = arg;
    set_state(w, WORKER_OFF);
    if (wanted(w)) start(w);
}

static void fail_queued_in_unit(RedisModuleCtx *ctx, void *arg) {
    worker *w = arg;
    jobs_fail_queued(ctx, w->role, w->last_error);
    if (w->unstartable) w->unstartable(ctx, w->role);
}

/* It could not be started, or has ended: wait, longer each time, and start again. */
static void pause_worker(worker *w) {
    uint64_t patience_us = (is_shared(w) ? CONNECT_PATIENCE_MS : START_PATIENCE_MS) * 1000ULL;
    if (w->failing_us && now_us() - w->failing_us > patience_us) unit_add(fail_queued_in_unit, w);
    long long pause_ms = settings.restart_backoff_ms;
    long long pause_max_ms = is_shared(w) ? CONNECT_PAUSE_MAX_MS : START_PAUSE_MAX_MS;
    for (unsigned i = 1; i < w->failures && pause_ms < pause_max_ms; i++) pause_ms *= 2;
    if (pause_ms > pause_max_ms) pause_ms = pause_max_ms;
    set_state(w, WORKER_PAUSED);
    timer_start(&w->timer, pause_ms, on_pause_over, w);
}

static void note_error(worker *w, const char *why) {
    snprintf(w->last_error, sizeof(w->last_error), "%s", why);
    log_line l;
    log_begin(&l, LEVEL_WARNING, w->state == WORKER_OFF ? "worker-not-started" : "worker-ended", 0);
    log_line_word(&l, "role", w->name);
    if (w->pid) log_line_number(&l, "pid", w->pid);
    log_line_word(&l, "error", why);
    log_end(&l, LEVEL_WARNING);
}

/* The channel has ended, or must: clean up and go on. In a unit. */
static void end_worker(RedisModuleCtx *ctx, worker *w, const char *why, int signal) {
    bool good_run = w->state == WORKER_READY && now_us() - w->state_us > (uint64_t)GOOD_RUN_MS * 1000;
    bool was_ready = w->state == WORKER_READY;
    char reason[sizeof(w->last_error)];
    snprintf(reason, sizeof(reason), "%s", why);
    note_error(w, reason);
    close_worker(w, signal);
    if (was_ready) w->failing_us = 0;
    else if (!w->failing_us) w->failing_us = now_us();
    w->failures = good_run ? 1 : w->failures + 1;
    set_state(w, WORKER_OFF);
    pause_worker(w); /* before calling anyone back, who may need the worker */
    jobs_worker_ended(ctx, w->role, reason);
}

static void fail_in_unit(RedisModuleCtx *ctx, void *arg) {
    worker *w = arg;
    if (w->channel && w->failing) end_worker(ctx, w, w->failing, SIGKILL);
}

void worker_fail(worker_role role, const char *why) {
    worker *w = &workers[role];
    if (!w->channel || w->failing) return;
    w->failing = why;
    unit_add(fail_in_unit, w);
}

static void on_watch(RedisModuleCtx *ctx, void *arg);

static void start_watch(worker *w) {
    long long watch_ms = settings.hang_timeout_ms / 8;
    timer_start(&w->timer, watch_ms < WATCH_MAX_MS ? watch_ms : WATCH_MAX_MS, on_watch, w);
}

/* A function holds the interpreter, or the loop of its worker: whoever waits to be read has waited for long. */
static void fail_unread(RedisModuleCtx *ctx, void *arg) {
    worker *w = arg;
    if (w->state != WORKER_READY || !w->ping_us) return; /* not any more */
    char error[160];
    snprintf(error, sizeof(error),
             "BUSY the %s worker has read nothing for %lld ms (keymiss.busy-timeout-ms): a function lets no other run",
             w->name, settings.busy_timeout_ms);
    jobs_fail_unread(ctx, w->role, (uint64_t)settings.busy_timeout_ms * 1000, error);
}

/* Models are loaded and run without the interpreter, and what takes long there is no failure. */
static bool may_be_held(const worker *w) {
    return w->role == WORKER_FUNCTIONS && settings.busy_timeout_ms > 0;
}

/* Nothing that it says is heard while clients are paused: its time begins anew. */
static void restart_clocks(worker *w) {
    if (w->state == WORKER_STARTING) w->state_us = now_us();
    if (w->ping_us) w->ping_us = now_us();
}

/* One that says nothing for so long is asked for a sign of life. */
static uint64_t silence_us(const worker *w) {
    uint64_t silent_us = (uint64_t)settings.hang_timeout_ms * 1000 / 4;
    bool soon = may_be_held(w) && jobs_at_work(w->role) && silent_us > SILENT_MS * 1000;
    return soon ? SILENT_MS * 1000 : silent_us;
}

/* It was asked, and has not answered yet. */
static void watch_unanswered(worker *w, uint64_t now) {
    uint64_t heard = channel_heard_us(w->channel), since = heard > w->ping_us ? heard : w->ping_us;
    if (now - since > (uint64_t)settings.hang_timeout_ms * 1000) worker_fail(w->role, "it hung (keymiss.hang-timeout-ms)");
    else if (may_be_held(w) && now - w->ping_us > (uint64_t)settings.busy_timeout_ms * 1000) unit_add(fail_unread, w);
}

static void watch(worker *w, uint64_t now) {
    if (w->state == WORKER_STARTING) {
        if (now - w->state_us > (uint64_t)START_TIMEOUT_MS * 1000) worker_fail(w->role, "it did not say READY in time");
    } else if (w->state == WORKER_READY && w->ping_us) {
        watch_unanswered(w, now);
    } else if (w->state == WORKER_READY && now - channel_heard_us(w->channel) > silence_us(w)) {
        if (channel_send_slices(w->channel, &(slice){"PING", 4}, 1, true)) w->ping_us = now;
    }
}

static void on_watch(RedisModuleCtx *ctx, void *arg) {
    (void)ctx;
    worker *w = arg;
    if (unit_is_held()) restart_clocks(w);
    else watch(w, now_us());
    start_watch(w);
}

static void on_frame(RedisModuleCtx *ctx, void *owner, const frame *f) {
    worker *w = owner;
    if (w->failing) return;
    for (size_t i = 0; i < w->verb_count; i++) {
        const verb_entry *v = &w->verbs[i];
        if (!slice_is(f->parts[0], v->verb)) continue;
        if (f->count < v->min_parts) worker_fail(w->role, "it sent a frame that is too short");
        else v->handler(ctx, w->role, f);
        return;
    }
    worker_fail(w->role, "it sent a frame with an unknown verb");
}

static void on_room(void *owner) {
    jobs_send_queued(((worker *)owner)->role);
}

static void on_end(RedisModuleCtx *ctx, void *owner, const char *why) {
    worker *w = owner;
    if (w->state == WORKER_STARTING && w->process.pid) {
        why = "it ended before it was ready: does keymiss.python have the package? its output is the server's";
    }
    end_worker(ctx, w, why, SIGTERM);
}

static const channel_events events = {on_frame, on_room, on_end};

/* One that is wanted for its metrics is tried for ever: the log has the first failure, the second, the fourth ... */
static void start_failed(worker *w, const char *why) {
    w->failures++;
    if ((w->failures & (w->failures - 1)) == 0 || strcmp(w->last_error, why) != 0) note_error(w, why);
    if (!w->failing_us) w->failing_us = now_us();
    pause_worker(w);
}

static void start(worker *w) {
    char error[sizeof(w->last_error)];
    int fd = is_shared(w) ? process_connect(settings.models + strlen(unix_prefix), error, sizeof(error))
                          : process_start(&w->process, settings.python, w->module, error, sizeof(error));
    if (fd < 0) {
        start_failed(w, error);
        return;
    }
    w->channel = channel_open(fd, &events, w);
    if (!w->channel) {
        leaving_begin(&w->process, SIGKILL);
        start_failed(w, "the server takes no more connections (maxclients)");
        return;
    }
    w->generation = ++last_generation;
    w->starts++;
    w->ping_us = 0;
    set_state(w, WORKER_STARTING);
    frame_writer hello;
    hello_write(&hello, w->name);
    channel_send(w->channel, &hello, NULL, true);
    frame_free(&hello);
    start_watch(w);
}

/* READY 1 <pid> */
static void on_ready(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    worker *w = &workers[role];
    long long version;
    if (!slice_number(f->parts[1], &version) || version != HELLO_VERSION || !slice_number(f->parts[2], &w->pid)) {
        worker_fail(role, "it speaks another version of the channel");
        return;
    }
    if (w->state != WORKER_STARTING) return;
    set_state(w, WORKER_READY);
    w->failing_us = 0;
    w->last_error[0] = 0;
    log_line l;
    log_begin(&l, LEVEL_NOTICE, "worker-ready", 0);
    log_line_word(&l, "role", w->name);
    log_line_number(&l, "pid", w->pid);
    log_line_number(&l, "starts", (long long)w->starts);
    log_end(&l, LEVEL_NOTICE);
    for (size_t i = 0; i < w->ready_count; i++) w->ready[i](ctx, role);
    jobs_send_queued(role);
}

static void on_pong(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    (void)ctx;
    (void)f;
    workers[role].ping_us = 0;
    jobs_send_queued(role);
}

/* LOG <level> <text> */
static void on_log(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    (void)ctx;
    log_worker(log_level_named(f->parts[1]), workers[role].name, f->parts[2]);
}

const char *worker_name(worker_role role) {
    return workers[role].name;
}

void worker_on_verb(worker_role role, const char *verb, size_t min_parts, verb_handler handler) {
    worker *w = &workers[role];
    assert(w->verb_count < VERBS_MAX);
    w->verbs[w->verb_count++] = (verb_entry){verb, min_parts, handler};
}

void worker_on_ready(worker_role role, ready_handler handler) {
    worker *w = &workers[role];
    assert(w->ready_count < READY_HANDLERS_MAX);
    w->ready[w->ready_count++] = handler;
}

void worker_on_unstartable(worker_role role, ready_handler handler) {
    workers[role].unstartable = handler;
}

void worker_need(worker_role role) {
    if (workers[role].state == WORKER_OFF) start(&workers[role]);
}

void worker_need_now(worker_role role) {
    worker *w = &workers[role];
    if (w->state == WORKER_PAUSED) {
        timer_stop(&w->timer);
        set_state(w, WORKER_OFF);
    }
    worker_need(role);
}

void worker_keep(worker_role role, bool keep) {
    workers[role].keep = keep;
}

bool worker_reads(worker_role role) {
    return worker_ready(role) && !workers[role].ping_us;
}

bool worker_ready(worker_role role) {
    return worker_channel(role) != NULL;
}

uint64_t worker_heard_us(worker_role role) {
    return worker_ready(role) ? channel_heard_us(workers[role].channel) : 0;
}

unsigned worker_generation(worker_role role) {
    return workers[role].generation;
}

channel *worker_channel(worker_role role) {
    const worker *w = &workers[role];
    return w->state == WORKER_READY && !w->failing ? w->channel : NULL;
}

channel *worker_open_channel(worker_role role) {
    return workers[role].failing ? NULL : workers[role].channel;
}

static bool is_too_long(const frame_writer *f) {
    return f->len + FRAME_HEADER_MAX > (size_t)settings.max_frame_bytes;
}

bool worker_send(worker_role role, const frame_writer *f) {
    channel *c = worker_channel(role);
    return c && !is_too_long(f) && channel_send(c, f, NULL, false);
}

bool worker_tell(worker_role role, const frame_writer *f) {
    channel *c = worker_channel(role);
    if (!c) return true;
    if (is_too_long(f)) return false;
    channel_send(c, f, NULL, true);
    return true;
}

static void forget_failures(worker *w) {
    w->failures = 0;
    w->failing_us = 0;
    if (w->state != WORKER_PAUSED) return;
    timer_stop(&w->timer);
    set_state(w, WORKER_OFF);
    if (wanted(w)) start(w);
}

/* Another models worker is wanted: as if this one had died, but at once and without blame. */
static void move_models(RedisModuleCtx *ctx, void *arg) {
    worker *w = arg;
    close_worker(w, SIGTERM);
    set_state(w, WORKER_PAUSED); /* whoever is called back now does not start it */
    jobs_worker_ended(ctx, w->role, "keymiss.models was changed");
    forget_failures(w);
}

static void try_python(RedisModuleCtx *ctx, void *arg) {
    (void)ctx;
    forget_failures(arg);
}

static void start_those_with_metrics(RedisModuleCtx *ctx, void *unused) {
    (void)ctx;
    (void)unused;
    for (int role = 0; role < WORKER_ROLES; role++) {
        if (shows_metrics(&workers[role])) worker_need((worker_role)role);
    }
}

static void on_setting(const char *name, const char *value) {
    const slice parts[] = {{"SETTING", 7}, {name, strlen(name)}, {value, strlen(value)}};
    for (int role = 0; role < WORKER_ROLES; role++) {
        channel *c = worker_open_channel((worker_role)role);
        if (c) channel_send_slices(c, parts, 3, true);
        if (strcmp(name, "python") == 0) unit_add(try_python, &workers[role]);
    }
    if (strcmp(name, "models") == 0) unit_add(move_models, &workers[WORKER_MODELS]);
    if (strstr(name, "metrics-port")) unit_add(start_those_with_metrics, NULL);
}

static void on_shutdown(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t subevent, void *data) {
    (void)ctx;
    (void)event;
    (void)subevent;
    (void)data;
    for (int role = 0; role < WORKER_ROLES; role++) {
        close_worker(&workers[role], SIGTERM);
        set_state(&workers[role], WORKER_OFF);
    }
}

static void write_info(RedisModuleInfoCtx *ctx) {
    static const char *const states[] = {"off", "starting", "ready", "paused"};
    for (int role = 0; role < WORKER_ROLES; role++) {
        const worker *w = &workers[role];
        char field[64];
        snprintf(field, sizeof(field), "%s_worker", w->name); /* "models" alone counts the keys that hold one */
        RedisModule_InfoBeginDictField(ctx, field);
        RedisModule_InfoAddFieldCString(ctx, "state", states[w->state]);
        RedisModule_InfoAddFieldLongLong(ctx, "pid", w->pid);
        RedisModule_InfoAddFieldULongLong(ctx, "starts", w->starts);
        RedisModule_InfoAddFieldULongLong(ctx, "restarts", w->starts > 0 ? w->starts - 1 : 0);
        uint64_t up_us = w->state == WORKER_READY ? now_us() - w->state_us : 0;
        RedisModule_InfoAddFieldULongLong(ctx, "uptime_seconds", up_us / 1000000);
        RedisModule_InfoEndDictField(ctx);
        snprintf(field, sizeof(field), "%s_last_error", w->name);
        RedisModule_InfoAddFieldCString(ctx, field, w->last_error);
    }
}

void worker_init(RedisModuleCtx *ctx) {
    (void)ctx;
    for (int role = 0; role < WORKER_ROLES; role++) {
        worker_on_verb((worker_role)role, "READY", 3, on_ready);
        worker_on_verb((worker_role)role, "PONG", 1, on_pong);
        worker_on_verb((worker_role)role, "LOG", 3, on_log);
    }
    settings_on_change(on_setting);
    info_section("workers", write_info);
}

int worker_listen(RedisModuleCtx *ctx) {
    return RedisModule_SubscribeToServerEvent(ctx, (RedisModuleEvent){REDISMODULE_EVENT_SHUTDOWN, 1}, on_shutdown);
}

void worker_begin(void) {
    unit_add(start_those_with_metrics, NULL);
}
