/* ai.c: what the AI.* commands need before the first of them. */
#include "ai.h"

#include <string.h>

#include "ai_run.h"
#include "blobs.h"
#include "calls.h"
#include "info.h"
#include "memory.h"
#include "model_type.h"
#include "runs.h"
#include "script_type.h"
#include "tensor_type.h"
#include "timers.h"
#include "which_model.h"
#include "worker.h"

/* In the event loop, on the main thread. */
static void tell_unload(void *arg) {
    char *digest = arg;
    frame_writer f;
    frame_init(&f);
    frame_add_text(&f, "UNLOAD");
    frame_add_text(&f, digest);
    worker_send(WORKER_MODELS, &f); /* a hint: no matter if there is no worker */
    frame_free(&f);
    memory.free(digest);
}

/* In any thread. */
static void on_last_release(const char *digest) {
    char *copy = memory.alloc(strlen(digest) + 1);
    strcpy(copy, digest);
    if (RedisModule_EventLoopAddOneShot(tell_unload, copy) != REDISMODULE_OK) memory.free(copy);
}

/* Timers run when the server serves, that is after what it loads at start. */
static void sweep_at_start(RedisModuleCtx *ctx, void *arg) {
    (void)ctx, (void)arg;
    blobs_sweep();
}

static void write_info(RedisModuleInfoCtx *ctx) {
    long long tensors, tensor_bytes, models, model_bytes, scripts, script_bytes;
    tensor_type_totals(&tensors, &tensor_bytes);
    stored_values_totals(&stored_models, &models, &model_bytes);
    stored_values_totals(&stored_scripts, &scripts, &script_bytes);
    RedisModule_InfoAddFieldLongLong(ctx, "tensors", tensors);
    RedisModule_InfoAddFieldLongLong(ctx, "tensor_bytes", tensor_bytes);
    RedisModule_InfoAddFieldLongLong(ctx, "models", models);
    RedisModule_InfoAddFieldLongLong(ctx, "model_bytes", model_bytes);
    RedisModule_InfoAddFieldLongLong(ctx, "scripts", scripts);
    RedisModule_InfoAddFieldLongLong(ctx, "script_bytes", script_bytes);
    RedisModule_InfoAddFieldLongLong(ctx, "runs_done", runs.done);
    RedisModule_InfoAddFieldLongLong(ctx, "runs_failed", runs.failed);
    RedisModule_InfoAddFieldLongLong(ctx, "runs_timed_out", runs.timed_out);
}

int ai_init(RedisModuleCtx *ctx) {
    if (tensor_type_init(ctx) != REDISMODULE_OK || model_type_init(ctx) != REDISMODULE_OK ||
        script_type_init(ctx) != REDISMODULE_OK)
        return REDISMODULE_ERR;
    blobs_init(on_last_release);
    calls_on_run(ai_run_for_function);
    which_model_init();
    info_section("ai", write_info);
    static timer sweep;
    timer_start(&sweep, 0, sweep_at_start, NULL);
    return REDISMODULE_OK;
}
