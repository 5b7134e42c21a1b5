#include "forward.h"

#include "errors.h"
#include "reply.h"

void forward_add_arguments(frame_writer *body, RedisModuleString **argv, int argc) {
    for (int i = 0; i < argc; i++) {
        size_t len;
        const char *text = RedisModule_StringPtrLen(argv[i], &len);
        frame_add(body, text, len);
    }
}

static const char *failure(const job_result *result) {
    return result->end == JOB_DONE ? "ERR the functions worker gave no reply" : result->error;
}

static void blocked_job_ended(RedisModuleCtx *ctx, const job_result *result, void *arg) {
    (void)ctx;
    errors_count(result->blame);
    if (result->end == JOB_DONE && result->done.count > 0) {
        waiter_finish_resp(arg, result->done.parts[0].data, result->done.parts[0].len);
    } else {
        waiter_finish_error(arg, failure(result));
    }
}

static void sync_job_ended(RedisModuleCtx *ctx, const job_result *result, void *arg) {
    (void)ctx;
    RedisModuleCtx *caller = arg;
    errors_count(result->blame);
    if (result->end == JOB_DONE && result->done.count > 0) {
        reply_with_resp(caller, result->done.parts[0]);
    } else {
        RedisModule_ReplyWithError(caller, failure(result));
    }
}

int forward_job(RedisModuleCtx *ctx, job_request *request, const char *refusal) {
    const char *error = NULL;
    if (request->sync) {
        request->callback = sync_job_ended;
        request->arg = ctx;
        job_id id = job_submit(request, &error);
        if (id) {
            job_wait(ctx, id);
        } else {
            errors_count(error_kind_refused(error));
            RedisModule_ReplyWithError(ctx, error);
        }
        return REDISMODULE_OK;
    }
    waiter *w = waiter_new(ctx, refusal);
    if (!w) {
        frame_free(&request->body);
        return REDISMODULE_OK;
    }
    request->callback = blocked_job_ended;
    request->arg = w;
    if (job_submit(request, &error) == 0) {
        errors_count(error_kind_refused(error));
        waiter_finish_error(w, error);
    }
    return REDISMODULE_OK;
}
