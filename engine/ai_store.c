#include "ai_store.h"

#include <stdio.h>
#include <string.h>

#include "ai_command.h"
#include "background.h"
#include "calls.h"
#include "errors.h"
#include "memory.h"
#include "runs.h"

/* A large model on a slow disk: reading 1 GB at 10 MB/s takes 100 s. */
enum { STORE_TIMEOUT_MS = 5 * 60 * 1000 };

/* A command on its way. */
typedef struct storing {
    const store_kind *kind;
    void *value;
    RedisModuleString *key;
    int db;
    waiter *waiter; /* NULL: the command itself waits, for the answer: */
    char *answer;   /* a RESP2 value */
    size_t answer_len;
} storing;

static void storing_free(storing *s) {
    s->kind->free(s->value);
    RedisModule_FreeString(NULL, s->key);
    memory.free(s->answer);
    memory.free(s);
}

static void storing_answer(storing *s, const char *answer, size_t len) {
    if (s->waiter != NULL) {
        waiter_finish_resp(s->waiter, answer, len);
        storing_free(s);
    } else {
        s->answer = memory.alloc(len);
        memcpy(s->answer, answer, len);
        s->answer_len = len;
    }
}

static void storing_error(storing *s, const char *error) {
    char answer[512];
    int len = snprintf(answer, sizeof answer, "-%.*s\r\n", (int)sizeof answer - 4, error);
    storing_answer(s, answer, (size_t)len);
}

static void on_answer(RedisModuleCtx *ctx, const job_result *result, void *arg) {
    storing *s = arg;
    const frame *done = &result->done;
    const char *error = NULL;
    errors_count(result->blame);
    if (result->end != JOB_DONE) {
        storing_error(s, result->error);
        return;
    }
    slice answer = done->parts[0];
    bool whole = run_reply_is_whole(answer);
    if (whole && run_reply_is_error(answer)) {
        storing_answer(s, answer.data, answer.len);
        return;
    }
    if (!whole || !s->kind->read(s->value, done)) error = RUN_MALFORMED_ANSWER;
    /* The key may be another one by now, or not ours to write. */
    if (error == NULL) error = ai_refuse_write_to(ctx, s->key);
    if (error == NULL) error = s->kind->check_key(ctx, s->key);
    if (error != NULL) {
        storing_error(s, error);
        return;
    }
    s->kind->store(ctx, s->key, s->value);
    storing_answer(s, "+OK\r\n", 5);
}

/* Ask the worker. 0: the client has been answered. */
static job_id storing_ask(storing *s) {
    const char *error;
    job_request request = {.role = WORKER_MODELS,
                           .kind = s->kind->job,
                           .deadline_ms = STORE_TIMEOUT_MS,
                           .db = s->db,
                           .repeatable = true,
                           .sync = s->waiter == NULL,
                           .callback = on_answer,
                           .arg = s};
    frame_init(&request.body);
    error = s->kind->write(s->value, &request.body);
    if (error != NULL) {
        frame_free(&request.body);
        storing_error(s, error);
        return 0;
    }
    waiter *w = s->waiter; /* s may be gone with the job */
    job_id job = job_submit(&request, &error);
    if (job == 0) {
        errors_count(error_kind_refused(error));
        storing_error(s, error);
    } else if (w != NULL) {
        waiter_set_job(w, job);
    }
    return job;
}

static void prepare(void *arg) {
    const storing *s = arg;
    if (s->kind->prepare != NULL) s->kind->prepare(s->value);
}

static void on_prepared(RedisModuleCtx *ctx, void *arg) {
    (void)ctx;
    storing_ask(arg);
}

/* The command itself waits, and answers. */
static void store_now(RedisModuleCtx *ctx, storing *s) {
    if (calls_of(WORKER_MODELS)) {
        storing_error(s, "ERR a script can store no model and no script: the models worker that runs it has to check them");
    } else {
        prepare(s);
        job_id job = storing_ask(s);
        if (job != 0) job_wait(ctx, job);
    }
    reply_with_resp(ctx, (slice){s->answer, s->answer_len});
    storing_free(s);
}

static void store_later(storing *s, bool long_prepare) {
    if (long_prepare && !jobs_waiting()) { /* while the main thread waits, nothing comes back from the background */
        background_run(prepare, on_prepared, s);
    } else {
        prepare(s);
        storing_ask(s);
    }
}

int ai_store(RedisModuleCtx *ctx, const store_kind *kind, RedisModuleString *key, void *value, bool long_prepare) {
    bool later = waiter_possible(ctx);
    storing *s = memory.alloc(sizeof *s);
    *s = (storing){.kind = kind,
                   .value = value,
                   .key = RedisModule_HoldString(NULL, key),
                   .db = RedisModule_GetSelectedDb(ctx),
                   .waiter = later ? waiter_new(ctx, "ERR Cannot store this here: the client may not be blocked") : NULL};
    if (later) store_later(s, long_prepare);
    else store_now(ctx, s);
    return REDISMODULE_OK;
}
