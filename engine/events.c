/* events.c
 *
 * 1. A notification runs in the middle of a command, so it only reads: asynchronous registrations get a job, synchronous
 *    ones are put off to the end of the command's unit (a post-notification job where the server has them, else before
 *    the event loop sleeps). A function that ran inside the notification could delete the key under the command's
 *    hands; Redis 7.0 crashes then.
 * 2. keymiss is the one event that fires inside a read command, whose unit must not write: always before the event loop
 *    sleeps.
 * 3. Values are read with commands, never with StringDMA, which may replace the value that the command still holds.
 * 4. Nothing fires while data is loaded, nor on a replica for what its master writes; a miss on a replica does.
 * 5. The main thread waits for a synchronous function only while its registration's events are answered: after one that
 *    was not, they run asynchronously until one is; those of other registrations until the worker has said something.
 *    Else each write would wait again for a worker that is down or a function that hangs. One that was lost with its
 *    worker is run once more that way, as asynchronous ones are.
 *    So do those that must run at once while clients are paused; what can wait for the end of the pause does.
 * 6. What a synchronous function writes fires no synchronous registration; asynchronous ones do fire, as for anyone. */
#include "events.h"

#include "calls.h"
#include "forward.h"
#include "info.h"
#include "job_flags.h"
#include "registrations.h"
#include "settings.h"
#include "unit.h"
#include "worker.h"

#include <string.h>

enum { OPEN_UNNOTICED = REDISMODULE_OPEN_KEY_NONOTIFY | REDISMODULE_OPEN_KEY_NOSTATS | REDISMODULE_OPEN_KEY_NOEXPIRE };

static event_collector *collector;
static unsigned sync_depth; /* synchronous functions running, one inside the other */
static long long put_off;   /* events that wait for the end of a unit */
static uint64_t unanswered_us; /* when an event ended last that was lost with its worker or to its deadline; 0: none */
static int open_mode = REDISMODULE_READ | REDISMODULE_OPEN_KEY_NOTOUCH;

static struct {
    unsigned long long fired, sync, refused, failed;
} stats;

/* The key at the time of the event, read when first asked for. */

typedef struct snapshot {
    RedisModuleCtx *ctx;
    RedisModuleString *key;
    const char *event;
    const char *type; /* NULL: not read yet */
    char type_room[64];
    bool has_value;
    RedisModuleCallReply *value_reply;
    slice value;
} snapshot;

/* Asking the server about a key that is gone would count and announce a miss. */
static bool leaves_no_key(const char *name) {
    static const char *const events[] = {"keymiss", "del", "expired", "evicted", "rename_from", "move_from"};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        if (strcmp(name, events[i]) == 0) return true;
    }
    return false;
}

/* A module's type has a name that only TYPE tells. */
static const char *module_type(snapshot *s) {
    const char *type = "module";
    RedisModuleCallReply *reply = RedisModule_Call(s->ctx, "TYPE", "s", s->key);
    size_t len;
    const char *text = reply ? RedisModule_CallReplyStringPtr(reply, &len) : NULL;
    if (text && len < sizeof s->type_room) {
        memcpy(s->type_room, text, len);
        s->type_room[len] = '\0';
        type = s->type_room;
    }
    if (reply) RedisModule_FreeCallReply(reply);
    return type;
}

static const char *snapshot_type(snapshot *s) {
    static const char *const types[] = {
        [REDISMODULE_KEYTYPE_EMPTY] = "empty", [REDISMODULE_KEYTYPE_STRING] = "string",
        [REDISMODULE_KEYTYPE_LIST] = "list",   [REDISMODULE_KEYTYPE_HASH] = "hash",
        [REDISMODULE_KEYTYPE_SET] = "set",     [REDISMODULE_KEYTYPE_ZSET] = "zset",
        [REDISMODULE_KEYTYPE_STREAM] = "stream",
    };
    if (s->type) return s->type;
    s->type = "empty";
    if (leaves_no_key(s->event)) return s->type;
    RedisModuleKey *key = RedisModule_OpenKey(s->ctx, s->key, open_mode);
    size_t number = (size_t)RedisModule_KeyType(key);
    RedisModule_CloseKey(key);
    bool named = number < sizeof types / sizeof types[0] && types[number];
    s->type = named ? types[number] : module_type(s);
    return s->type;
}

static slice snapshot_value(snapshot *s) {
    if (s->has_value) return s->value;
    s->has_value = true;
    const char *type = snapshot_type(s);
    if (strcmp(type, "string") == 0) {
        s->value_reply = RedisModule_Call(s->ctx, "GET", "s", s->key);
    } else if (strcmp(type, "list") == 0) {
        s->value_reply = RedisModule_Call(s->ctx, "LRANGE", "scc", s->key, "0", "-1");
    } else if (strcmp(type, "hash") == 0) {
        s->value_reply = RedisModule_Call(s->ctx, "HGETALL", "s", s->key);
    }
    if (s->value_reply) s->value.data = RedisModule_CallReplyProto(s->value_reply, &s->value.len);
    return s->value;
}

static void snapshot_end(snapshot *s) {
    if (s->value_reply) RedisModule_FreeCallReply(s->value_reply);
}

/* Events. */

static event *event_new(registration *r, snapshot *s, bool miss) {
    event *e = RedisModule_Calloc(1, sizeof *e);
    size_t key_len;
    const char *key = RedisModule_StringPtrLen(s->key, &key_len);
    slice value = r->wants_value ? snapshot_value(s) : (slice){"", 0};
    e->registration = registration_hold(r);
    e->key = RedisModule_HoldString(NULL, s->key);
    e->db = RedisModule_GetSelectedDb(s->ctx);
    e->cause = calls_current_job();
    e->is_miss = miss;
    frame_init(&e->record);
    frame_add(&e->record, key, key_len);
    frame_add_text(&e->record, s->event);
    frame_add_text(&e->record, snapshot_type(s));
    frame_add(&e->record, value.data, value.len);
    return e;
}

void event_free(void *arg) {
    event *e = arg;
    registration_release(e->registration);
    RedisModule_FreeString(NULL, e->key);
    frame_free(&e->record);
    RedisModule_Free(e);
}

event_collector *events_collect(event_collector *next) {
    event_collector *previous = collector;
    collector = next;
    return previous;
}

static void list_append(event_list *list, event *e) {
    if (list->last) {
        list->last->next = e;
    } else {
        list->first = e;
    }
    list->last = e;
}

job_id event_submit(const event *e, const event_job *job, const char **error) {
    const registration *r = e->registration;
    job_request request = {
        .role = WORKER_FUNCTIONS,
        .kind = job->kind,
        .db = job->kind == JOB_EVENT ? 0 : e->db, /* nobody waits for an EVENT: as ever, it runs in database 0 */
        .repeatable = true,
        .sync = job->sync,
        .traced = job->traced,
        .seen_us = job->seen_us,
        .callback = job->callback,
        .arg = job->arg,
    };
    frame_writer *body = &request.body;
    frame_init(body);
    frame_add_number(body, e->db);
    job_flags_add(body, job->context_flags, job->sync, job->traced, job->kind == JOB_EVENT ? e->cause : job->command);
    frame_add(body, r->id.data, r->id.len);
    frame_append(body, &e->record);
    frame_add_number(body, job->argc);
    forward_add_arguments(body, job->argv, job->argc);
    stats.fired++;
    job_id id = job_submit(&request, error);
    if (id == 0) stats.refused++;
    return id;
}

void event_run_sync(RedisModuleCtx *ctx, const event *e, event_job *job, const char **error) {
    job->sync = true;
    stats.sync++;
    sync_depth++;
    job_id id = event_submit(e, job, error);
    if (id) job_wait(ctx, id);
    sync_depth--;
}

static void note_answer(registration *r, job_end end) {
    r->unanswered = end != JOB_DONE;
    if (r->unanswered) unanswered_us = RedisModule_MonotonicMicroseconds();
}

static void unwatched_ended(RedisModuleCtx *ctx, const job_result *result, void *arg) {
    (void)ctx;
    registration *r = arg;
    note_answer(r, result->end);
    if (r->unanswered) stats.failed++;
    registration_release(r);
}

void event_submit_unwatched(const event *e, int context_flags) {
    event_job job = {.kind = JOB_EVENT, .context_flags = context_flags, .callback = unwatched_ended,
                     .arg = registration_hold(e->registration)};
    const char *error;
    if (event_submit(e, &job, &error) != 0) return;
    /* Refused for want of room: INFO counts these; a line for each would fill the disk. */
    registration_release(e->registration);
}

/* Synchronous registrations. */

typedef struct sync_run {
    registration *registration;
    bool lost; /* it ended with its worker */
} sync_run;

static void sync_ended(RedisModuleCtx *ctx, const job_result *result, void *arg) {
    (void)ctx;
    sync_run *run = arg;
    note_answer(run->registration, result->end);
    run->lost = result->end == JOB_FAILED;
    if (result->end == JOB_TIMED_OUT) stats.failed++;
}

static bool may_be_waited_for(const registration *r) {
    return !r->unanswered && (!unanswered_us || worker_heard_us(WORKER_FUNCTIONS) > unanswered_us);
}

static void run_put_off(RedisModuleCtx *ctx, void *arg) {
    event *e = arg;
    int flags = RedisModule_GetContextFlags(ctx);
    if (e->registration->removed) return;
    if (unit_is_held() || !may_be_waited_for(e->registration)) {
        event_submit_unwatched(e, flags);
        return;
    }
    sync_run run = {.registration = e->registration};
    event_job job = {.kind = JOB_EVENT, .context_flags = flags, .callback = sync_ended, .arg = &run};
    const char *error = NULL;
    event_run_sync(ctx, e, &job, &error);
    if (error) stats.failed++;
    if (run.lost) event_submit_unwatched(e, flags);
}

static void free_put_off(void *arg) {
    put_off--;
    event_free(arg);
}

static event_list before_sleep;

static void on_event_loop(RedisModuleCtx *ctx, RedisModuleEvent server_event, uint64_t subevent, void *data) {
    (void)server_event;
    (void)data;
    if (subevent != REDISMODULE_SUBEVENT_EVENTLOOP_BEFORE_SLEEP || !before_sleep.first || unit_is_held()) return;
    RedisModuleCtx *previous = unit_enter(ctx);
    event_list list = before_sleep;
    before_sleep = (event_list){0};
    while (list.first) {
        event *e = list.first;
        list.first = e->next;
        run_put_off(ctx, e);
        free_put_off(e);
    }
    unit_leave(previous);
}

static void wake_up(void *unused) {
    (void)unused; /* that the event loop turns is all that is wanted */
}

/* Where the server can run things at the end of a unit, there. Else before the event loop sleeps: before the reply is
 * written to the client's socket and before the worker is heard again. A zero-delay timer may come too late for that. */
static void put_off_sync(RedisModuleCtx *ctx, event *e) {
    static bool listening;
    if (put_off >= settings.max_jobs) {
        stats.refused++;
        event_free(e);
        return;
    }
    put_off++;
    if (!e->is_miss && RedisModule_AddPostNotificationJob &&
        RedisModule_AddPostNotificationJob(ctx, run_put_off, e, free_put_off) == REDISMODULE_OK) {
        return;
    }
    if (!listening) {
        RedisModuleEvent event_loop = {REDISMODULE_EVENT_EVENTLOOP, 1};
        RedisModule_SubscribeToServerEvent(unit_server_context(), event_loop, on_event_loop);
        listening = true;
    }
    if (!before_sleep.first) RedisModule_EventLoopAddOneShot(wake_up, NULL);
    list_append(&before_sleep, e);
}

static bool is_wanted(const registration *r, const char *name, size_t len) {
    if (!registration_wants_event(r, name, len)) return false;
    if (r->mode == MODE_SYNC && sync_depth > 0) return false;
    if (r->commands.count == 0) return true;
    return collector && name_list_has(&r->commands, collector->command.data, collector->command.len);
}

static int on_event(RedisModuleCtx *ctx, int type, const char *name, RedisModuleString *key) {
    if (registrations_of_events == 0) return REDISMODULE_OK;
    size_t key_len, name_len = strlen(name);
    const char *key_text = RedisModule_StringPtrLen(key, &key_len);
    registration_list list = registrations_matching(key_text, key_len);
    if (list.count == 0) return REDISMODULE_OK;

    bool miss = type == REDISMODULE_NOTIFY_KEY_MISS;
    int flags = RedisModule_GetContextFlags(ctx);
    if (flags & (REDISMODULE_CTX_FLAGS_LOADING | REDISMODULE_CTX_FLAGS_ASYNC_LOADING)) return REDISMODULE_OK;
    if (!miss && (flags & REDISMODULE_CTX_FLAGS_SLAVE)) return REDISMODULE_OK;

    snapshot s = {.ctx = ctx, .key = key, .event = name};
    for (size_t i = 0; i < list.count; i++) {
        registration *r = list.items[i];
        if (!is_wanted(r, name, name_len) || !registration_wants_type(r, snapshot_type(&s))) continue;
        event *e = event_new(r, &s, miss);
        if (r->commands.count > 0) {
            list_append(&collector->list, e);
        } else if (r->mode == MODE_SYNC) {
            put_off_sync(ctx, e);
        } else {
            event_submit_unwatched(e, flags);
            event_free(e);
        }
    }
    snapshot_end(&s);
    return REDISMODULE_OK;
}

event *events_miss(RedisModuleCtx *ctx, RedisModuleString *key, slice command) {
    static const char name[] = "keymiss";
    size_t key_len;
    const char *key_text = RedisModule_StringPtrLen(key, &key_len);
    registration_list list = registrations_matching(key_text, key_len);
    snapshot s = {.ctx = ctx, .key = key, .event = name};
    event_collector here = {.command = command}, *previous = events_collect(&here);
    event *found = NULL;
    for (size_t i = 0; i < list.count && !found; i++) {
        registration *r = list.items[i];
        bool wants = r->commands.count > 0 && is_wanted(r, name, sizeof(name) - 1) &&
                     registration_wants_type(r, snapshot_type(&s));
        if (wants) found = event_new(r, &s, true);
    }
    events_collect(previous);
    snapshot_end(&s);
    return found;
}

static void write_info(RedisModuleInfoCtx *info) {
    RedisModule_InfoAddFieldULongLong(info, "events_fired", stats.fired);
    RedisModule_InfoAddFieldULongLong(info, "events_sync", stats.sync);
    RedisModule_InfoAddFieldULongLong(info, "events_refused", stats.refused);
    RedisModule_InfoAddFieldULongLong(info, "events_failed", stats.failed);
    RedisModule_InfoAddFieldLongLong(info, "events_put_off", put_off);
}

/* Servers pay for a subscriber on every event: there is none before a registration needs it. */
static void subscribe(RedisModuleCtx *ctx) {
    RedisModule_SubscribeToKeyspaceEvents(ctx, REDISMODULE_NOTIFY_ALL | REDISMODULE_NOTIFY_KEY_MISS, on_event);
}

int events_init(RedisModuleCtx *ctx) {
    (void)ctx;
    if (RedisModule_GetOpenKeyModesAll) open_mode |= OPEN_UNNOTICED & RedisModule_GetOpenKeyModesAll();
    registrations_on_first_event_wanted(subscribe);
    info_section("events", write_info);
    return REDISMODULE_OK;
}
