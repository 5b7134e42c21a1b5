/* worker_info.c: see worker_info.h. */
#include "worker_info.h"

#include <stdio.h>

#include "ai_report.h"
#include "info.h"
#include "pairs.h"
#include "worker.h"

enum { PAIRS_MAX = 256 }; /* of one worker: some tens of numbers, and one for each of 64 functions */

static names said[WORKER_ROLES]; /* name, value, name, value ...; of the last INFO of the worker that is ready */

/* INFO <n> (<name> <value>)*n <n> (<backend> <version>)*n <n> (<device> <cpu_seconds>)*n: what is malformed is left out. */
static void on_worker_info(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    (void)ctx;
    size_t at = 1;
    if (!pairs_take(f->parts, f->count, &at, PAIRS_MAX, &said[role])) return;
    if (role == WORKER_MODELS) ai_report_learn(f->parts + at, f->count - at);
}

/* What the one before it said is not true any more. */
static void on_worker_ready(RedisModuleCtx *ctx, worker_role role) {
    (void)ctx;
    names_free(&said[role]);
}

static void write_said(RedisModuleInfoCtx *ctx, worker_role role) {
    char name[PAIR_NAME_MAX + 1], value[PAIR_VALUE_MAX + 1];
    for (size_t i = 0; worker_ready(role) && i + 1 < said[role].count; i += 2) {
        slice n = said[role].items[i], v = said[role].items[i + 1];
        if (!pair_is_field(n, v)) continue;
        snprintf(name, sizeof(name), "%.*s", (int)n.len, n.data);
        snprintf(value, sizeof(value), "%.*s", (int)v.len, v.data);
        RedisModule_InfoAddFieldCString(ctx, name, value);
    }
}

static void write_functions(RedisModuleInfoCtx *ctx) {
    write_said(ctx, WORKER_FUNCTIONS);
}

static void write_models(RedisModuleInfoCtx *ctx) {
    write_said(ctx, WORKER_MODELS);
}

void worker_info_init(void) {
    for (int role = 0; role < WORKER_ROLES; role++) {
        worker_on_verb((worker_role)role, "INFO", 2, on_worker_info);
        worker_on_ready((worker_role)role, on_worker_ready);
    }
    info_section("functions_worker", write_functions);
    info_section("models_worker", write_models);
}
