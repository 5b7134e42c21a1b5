/* jobs.c: see jobs.h for the rules.
 *
 * A job is in the table by its id and, by its state, in one list of its role: queued (in the order of submission; those
 * that come back from a dead worker first) or sent (in the order of sending). */
#include "jobs.h"

#include <stdio.h>

#include "calls.h"
#include "info.h"
#include "job_log.h"
#include "memory.h"
#include "nested.h"
#include "settings.h"
#include "stages.h"
#include "timers.h"
#include "trace.h"
#include "unit.h"
#include "worker.h"

enum {
    SENDS_MAX = 2,    /* a job is sent at most so often */
    HEAD_ELEMENTS = 4, /* of a frame, before the body */
    ELEMENTS_ADDED = HEAD_ELEMENTS + 1
};

typedef struct job {
    job_id id, request; /* see job_facts */
    worker_role role;
    job_kind kind;
    int db;
    bool repeatable, traced, sent, abandoned, measured;
    unsigned sends;
    unsigned long long wait;            /* see job_facts */
    uint64_t submitted_us, sent_us, deadline_us; /* monotonic; not sent, no deadline: 0 */
    timer deadline;
    RedisModuleString *user;            /* NULL: none */
    frame_writer body;
    job_callback callback;
    void *arg;
    struct job *previous, *next; /* in its list */
    struct job *chain;           /* in its bucket */
} job;

typedef struct job_list {
    job *first, *last;
    size_t count;
    size_t bytes; /* of bodies */
} job_list;

typedef struct kind_counters {
    unsigned long long done, timed_out, failed, cancelled, retried, refused;
    histogram latency; /* from submission to the end, of those done */
} kind_counters;

static struct {
    job **buckets; /* bucket_count is a power of two */
    size_t bucket_count, count;
    job_id last_id;
    job_list queued[WORKER_ROLES], sent[WORKER_ROLES];
    kind_counters counters[JOB_KINDS];
} jobs;

static const char *const kind_names[JOB_KINDS] = {"COMMAND", "MISS", "EVENT", "HOOKED", "LOAD", "RUN", "COMPILE", "DAG"};
static const char *const kind_fields[JOB_KINDS] = {"command", "miss", "event", "hooked", "load", "run", "compile", "dag"};

static job **bucket_of(job_id id) {
    return &jobs.buckets[id & (jobs.bucket_count - 1)];
}

static job *table_find(job_id id) {
    job *j = *bucket_of(id);
    while (j && j->id != id) j = j->chain;
    return j;
}

static void table_add(job *j) {
    if (jobs.count == jobs.bucket_count) {
        size_t old_count = jobs.bucket_count;
        job **old = jobs.buckets;
        jobs.bucket_count *= 2;
        jobs.buckets = RedisModule_Calloc(jobs.bucket_count, sizeof(job *));
        for (size_t i = 0; i < old_count; i++) {
            for (job *moved = old[i], *next; moved; moved = next) {
                next = moved->chain;
                moved->chain = *bucket_of(moved->id);
                *bucket_of(moved->id) = moved;
            }
        }
        RedisModule_Free(old);
    }
    j->chain = *bucket_of(j->id);
    *bucket_of(j->id) = j;
    jobs.count++;
}

static void table_remove(job *j) {
    job **link = bucket_of(j->id);
    while (*link != j) link = &(*link)->chain;
    *link = j->chain;
    jobs.count--;
}

static void list_append(job_list *l, job *j) {
    j->previous = l->last;
    j->next = NULL;
    if (l->last) l->last->next = j;
    else l->first = j;
    l->last = j;
    l->count++;
    l->bytes += j->body.len;
}

static void list_prepend(job_list *l, job *j) {
    j->previous = NULL;
    j->next = l->first;
    if (l->first) l->first->previous = j;
    else l->last = j;
    l->first = j;
    l->count++;
    l->bytes += j->body.len;
}

static void list_remove(job_list *l, job *j) {
    if (j->previous) j->previous->next = j->next;
    else l->first = j->next;
    if (j->next) j->next->previous = j->previous;
    else l->last = j->previous;
    l->count--;
    l->bytes -= j->body.len;
}

static job_list *list_of(const job *j) {
    return j->sent ? &jobs.sent[j->role] : &jobs.queued[j->role];
}

/* Take a job out of everything; the caller then calls back, or not, and frees it. */
static void detach(job *j) {
    list_remove(list_of(j), j);
    table_remove(j);
    timer_stop(&j->deadline);
    if (j->abandoned) unit_remove(j);
}

static void job_free(job *j) {
    frame_free(&j->body);
    if (j->user) RedisModule_FreeString(NULL, j->user);
    memory.free(j);
}

static void finish(RedisModuleCtx *ctx, job *j, const job_result *result) {
    kind_counters *counters = &jobs.counters[j->kind];
    uint64_t took_us = RedisModule_MonotonicMicroseconds() - j->submitted_us;
    job_result told = *result;
    told.submitted_us = j->submitted_us;
    told.sent_us = j->sent_us;
    if (j->traced && told.done.count > 1) trace_add(j->request, j->role, told.done.parts[--told.done.count]);
    detach(j);
    switch (result->end) {
    case JOB_DONE:
        counters->done++;
        histogram_add(&counters->latency, took_us);
        break;
    case JOB_TIMED_OUT: counters->timed_out++; break;
    case JOB_FAILED: counters->failed++; break;
    }
    job_log_ended(&(job_ending){j->id, j->request, j->role, kind_names[j->kind], took_us, &j->body}, &told);
    RedisModule_SelectDb(ctx, j->db);
    j->callback(ctx, &told, j->arg);
    job_free(j);
}

static void fail(RedisModuleCtx *ctx, job *j, const char *error, error_kind blame) {
    finish(ctx, j, &(job_result){.end = JOB_FAILED, .error = error, .blame = blame});
}

static void tell_cancelled(const job *j) {
    if (!j->sent) return;
    frame_writer f;
    frame_init(&f);
    frame_add_text(&f, "CANCEL");
    frame_add_number(&f, (long long)j->id);
    worker_tell(j->role, &f);
    frame_free(&f);
}

static void time_out(RedisModuleCtx *ctx, job *j, uint64_t allowed_us) {
    char error[96];
    snprintf(error, sizeof(error), "ERR the %s worker gave no answer within %llu ms", worker_name(j->role),
             (unsigned long long)allowed_us / 1000);
    tell_cancelled(j);
    finish(ctx, j, &(job_result){.end = JOB_TIMED_OUT, .error = error, .blame = ERROR_TIMEOUT});
}

static void on_deadline(RedisModuleCtx *ctx, void *arg) {
    job *j = arg;
    RedisModuleCtx *previous = unit_enter(ctx);
    time_out(ctx, j, j->deadline_us - j->submitted_us);
    unit_leave(previous);
}

static long long left_ms(const job *j, uint64_t now) {
    if (j->deadline_us == 0) return 0;
    return now < j->deadline_us ? (long long)((j->deadline_us - now + 999) / 1000) : 1;
}

/* JOB <id> <kind> <deadline_ms> and the body. False: the worker takes no more now. One that does not read is sent nothing:
 * what it has not been sent can be refused, or given to the next one. */
static bool send_job(job *j, uint64_t now) {
    channel *c = worker_reads(j->role) ? worker_channel(j->role) : NULL;
    if (!c) return false;
    frame_writer head;
    frame_init(&head);
    frame_add(&head, "JOB", 3);
    frame_add_number(&head, (long long)j->id);
    frame_add_text(&head, kind_names[j->kind]);
    frame_add_number(&head, left_ms(j, now));
    bool went = channel_send(c, &head, &j->body, false);
    frame_free(&head);
    if (!went) return false;
    if (j->measured && j->sends == 0) stage_add(STAGE_QUEUE, now - j->submitted_us);
    list_remove(list_of(j), j);
    j->sends++;
    j->sent = true;
    j->sent_us = now;
    if (!j->repeatable || j->sends == SENDS_MAX) frame_free(&j->body);
    list_append(list_of(j), j);
    return true;
}

void jobs_send_queued(worker_role role) {
    if (!jobs.queued[role].first) return;
    uint64_t now = RedisModule_MonotonicMicroseconds();
    while (jobs.queued[role].first && send_job(jobs.queued[role].first, now)) {
    }
}

/* The last element of the models worker's jobs: <request>, with a c where its stages are asked for. */
static void add_request(frame_writer *body, job_id request, bool traced) {
    char text[24];
    frame_add(body, text, (size_t)snprintf(text, sizeof(text), traced ? "%lluc" : "%llu", request));
}

/* NULL where there is room for it, or a whole static error. */
static const char *refusal(const job_request *request) {
    const job_list *queued = &jobs.queued[request->role];
    size_t bytes = request->body.len + FRAME_HEADER_MAX + ELEMENTS_ADDED * FRAME_ELEMENT_MAX;
    if (request->body.count > FRAME_MAX_ELEMENTS - ELEMENTS_ADDED) return "ERR the command has too many arguments";
    if (bytes > (size_t)settings.max_frame_bytes) return "ERR the command is larger than keymiss.max-frame-bytes";
    if ((long long)jobs.count >= settings.max_jobs) return "BUSY too many jobs wait for the workers (keymiss.max-jobs)";
    if (queued->count > 0 && queued->bytes + bytes > (size_t)settings.max_channel_bytes)
        return "BUSY too many bytes wait for the worker (keymiss.max-channel-bytes)";
    return NULL;
}

/* Takes over what the request owns. `whose`: the request that it is of; 0: it is one itself. */
static job *job_new(job_request *request, job_id whose) {
    if (request->role == WORKER_MODELS) {
        request->traced = request->kind == JOB_RUN && trace_wants(whose);
        add_request(&request->body, whose ? whose : jobs.last_id + 1, request->traced);
    }
    job *j = memory.alloc(sizeof(*j));
    *j = (job){
        .id = ++jobs.last_id,
        .request = whose && request->role == WORKER_MODELS ? whose : jobs.last_id,
        .role = request->role,
        .kind = request->kind,
        .db = request->db,
        .repeatable = request->repeatable,
        .traced = request->traced,
        .measured = request->seen_us != 0,
        .wait = nested_wait(),
        .submitted_us = RedisModule_MonotonicMicroseconds(),
        .user = request->user,
        .body = request->body,
        .callback = request->callback,
        .arg = request->arg,
    };
    frame_init(&request->body);
    return j;
}

static void set_deadline(job *j, long long told_ms) {
    if (told_ms < 0) return;
    long long deadline_ms = told_ms ? told_ms : settings.job_timeout_ms;
    j->deadline_us = j->submitted_us + (uint64_t)deadline_ms * 1000;
    timer_start(&j->deadline, deadline_ms, on_deadline, j);
}

job_id job_submit(job_request *request, const char **error) {
    job_id whose = request->request ? request->request : calls_current_job();
    if ((*error = refusal(request)) != NULL) {
        jobs.counters[request->kind].refused++;
        job_log_refused(whose, kind_names[request->kind], *error);
        frame_free(&request->body);
        if (request->user) RedisModule_FreeString(NULL, request->user);
        return 0;
    }
    job *j = job_new(request, whose);
    if (j->measured) stage_add(STAGE_HOOK, j->submitted_us - request->seen_us);
    set_deadline(j, request->deadline_ms);
    job_list *queued = list_of(j);
    table_add(j);
    list_append(queued, j);
    if (queued->first == j && send_job(j, j->submitted_us)) return j->id;
    if (nested_active()) worker_need_now(j->role);
    else worker_need(j->role);
    return j->id;
}

/* The error of a job whose worker died: what happened, and whether it was tried again. */
static void died_error(char *out, size_t size, const job *j, const char *why) {
    snprintf(out, size, "ERR the %s worker died while it ran this%s (%s)", worker_name(j->role),
             j->sends > 1 ? " for the second time" : "", why);
}

void jobs_worker_ended(RedisModuleCtx *ctx, worker_role role, const char *why) {
    job_list *sent = &jobs.sent[role];
    /* First, without calling anyone back: they were sent before all that is queued, so they go first again. */
    for (job *j = sent->last, *previous; j; j = previous) {
        previous = j->previous;
        if (!j->repeatable || j->sends == SENDS_MAX || j->abandoned) continue;
        list_remove(sent, j);
        j->sent = false;
        list_prepend(&jobs.queued[role], j);
        jobs.counters[j->kind].retried++;
    }
    while (sent->first) {
        char error[192];
        died_error(error, sizeof(error), sent->first, why);
        fail(ctx, sent->first, error, ERROR_WORKER);
    }
}

void jobs_fail_queued(RedisModuleCtx *ctx, worker_role role, const char *why) {
    char error[256];
    snprintf(error, sizeof(error), "ERR the %s worker cannot be started: %s", worker_name(role), why);
    for (size_t n = jobs.queued[role].count; n > 0 && jobs.queued[role].first; n--) {
        fail(ctx, jobs.queued[role].first, error, ERROR_WORKER);
    }
}

void job_cancel(job_id id) {
    job *j = table_find(id);
    if (!j) return;
    tell_cancelled(j);
    jobs.counters[j->kind].cancelled++;
    detach(j);
    job_free(j);
}

static void abandon_in_unit(RedisModuleCtx *ctx, void *arg) {
    job *j = arg;
    j->abandoned = false;
    fail(ctx, j, "ERR the client left", ERROR_NONE);
}

void job_abandon(job_id id) {
    job *j = table_find(id);
    if (!j || j->abandoned) return;
    tell_cancelled(j);
    j->abandoned = true;
    unit_add(abandon_in_unit, j);
}

static void give_up(RedisModuleCtx *ctx, job *j, const char *error, error_kind blame) {
    tell_cancelled(j);
    fail(ctx, j, error, blame);
}

void jobs_fail_unread(RedisModuleCtx *ctx, worker_role role, uint64_t waited_us, const char *error) {
    uint64_t now = RedisModule_MonotonicMicroseconds();
    job *j = jobs.queued[role].first;
    while (j) {
        job_id next = j->next ? j->next->id : 0;
        if (j->kind != JOB_EVENT && now - j->submitted_us > waited_us) fail(ctx, j, error, ERROR_BUSY);
        j = next ? table_find(next) : NULL; /* whoever was called back may have ended it */
    }
}

void jobs_fail_waited(RedisModuleCtx *ctx, worker_role role, unsigned long long wait) {
    job *j = jobs.sent[role].first;
    while (j) {
        if (j->wait != wait) {
            j = j->next;
            continue;
        }
        give_up(ctx, j, "ERR the worker died while the server waited for it", ERROR_WORKER);
        j = jobs.sent[role].first; /* whoever was called back may have ended others */
    }
}

void job_wait(RedisModuleCtx *ctx, job_id id) {
    job *j = table_find(id);
    if (!j) return;
    uint64_t began_us = RedisModule_MonotonicMicroseconds();
    uint64_t until_us = began_us + (uint64_t)settings.sync_timeout_ms * 1000;
    if (j->deadline_us && j->deadline_us < until_us) until_us = j->deadline_us;
    worker_role role = j->role;
    RedisModuleCtx *previous = unit_enter(ctx);
    int db = RedisModule_GetSelectedDb(ctx);
    nested_end end = nested_serve(ctx, role, id, false, until_us);
    j = table_find(id);
    if (j && end == NESTED_TIMED_OUT) time_out(ctx, j, until_us > began_us ? until_us - began_us : 0);
    else if (j && end == NESTED_TOO_DEEP) give_up(ctx, j, "ERR sync functions call each other too deeply", ERROR_FUNCTION);
    else if (j) give_up(ctx, j, "ERR the worker died while the server waited for it", ERROR_WORKER);
    RedisModule_SelectDb(ctx, db);
    unit_leave(previous);
}

bool jobs_waiting(void) {
    return nested_active();
}

bool job_find(job_id id, job_facts *out) {
    job *j = table_find(id);
    if (j && out) *out = (job_facts){j->role, j->request, j->db, j->wait, j->deadline_us, j->kind, j->user};
    return j != NULL;
}

bool jobs_queued(worker_role role) {
    return jobs.queued[role].first != NULL;
}

bool jobs_at_work(worker_role role) {
    return jobs.sent[role].first != NULL;
}

/* Whose error the reply is, where it is one. */
static error_kind blame_for(slice reply, worker_role role) {
    if (reply.len == 0 || reply.data[0] != '-') return ERROR_NONE;
    return error_kind_of((slice){reply.data + 1, reply.len - 1}, role == WORKER_MODELS ? ERROR_MODEL : ERROR_FUNCTION);
}

/* DONE <id> <reply> ... */
static void on_done(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    long long id;
    if (!slice_number(f->parts[1], &id) || id <= 0) {
        worker_fail(role, "it sent a DONE without a job's number");
        return;
    }
    job *j = table_find((job_id)id);
    if (!j || j->role != role || !j->sent || j->abandoned) return; /* cancelled, timed out or already done */
    finish(ctx, j, &(job_result){.end = JOB_DONE,
                                 .done = {f->parts + 2, f->count - 2},
                                 .blame = blame_for(f->parts[2], role),
                                 .heard_us = channel_heard_us(worker_open_channel(role))});
}

static void write_info(RedisModuleInfoCtx *ctx) {
    static const char *const outcomes[] = {"done", "timed_out", "failed", "cancelled", "retried", "refused"};
    char field[64];
    RedisModule_InfoAddFieldULongLong(ctx, "jobs_now", jobs.count);
    for (int role = 0; role < WORKER_ROLES; role++) {
        snprintf(field, sizeof(field), "%s_queue_depth", worker_name((worker_role)role));
        RedisModule_InfoAddFieldULongLong(ctx, field, jobs.queued[role].count);
        snprintf(field, sizeof(field), "%s_running", worker_name((worker_role)role));
        RedisModule_InfoAddFieldULongLong(ctx, field, jobs.sent[role].count);
    }
    for (int kind = 0; kind < JOB_KINDS; kind++) {
        const kind_counters *k = &jobs.counters[kind];
        const unsigned long long counts[] = {k->done, k->timed_out, k->failed, k->cancelled, k->retried, k->refused};
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
            snprintf(field, sizeof(field), "%s_%s", kind_fields[kind], outcomes[i]);
            RedisModule_InfoAddFieldULongLong(ctx, field, counts[i]);
        }
        snprintf(field, sizeof(field), "%s_latency", kind_fields[kind]);
        info_histogram(ctx, field, &k->latency);
    }
}

void jobs_init(RedisModuleCtx *ctx) {
    (void)ctx;
    jobs.bucket_count = 1024;
    jobs.buckets = RedisModule_Calloc(jobs.bucket_count, sizeof(job *));
    for (int role = 0; role < WORKER_ROLES; role++) worker_on_verb((worker_role)role, "DONE", 3, on_done);
    info_section("jobs", write_info);
}
