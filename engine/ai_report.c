/* ai_report.c: see ai_report.h. */
#include "ai_report.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "ai.h"
#include "ai_options.h"
#include "memory.h"
#include "pairs.h"
#include "version.h"
#include "worker.h"

/* More than a worker has: backends and devices are few. */
enum { PAIRS_MAX = 64 };

static names backends, devices; /* name, value, name, value ...; of the last INFO */

/* ---- what the models worker says ---- */

void ai_report_learn(const slice *parts, size_t count) {
    size_t at = 0;
    if (pairs_take(parts, count, &at, PAIRS_MAX, &backends)) pairs_take(parts, count, &at, PAIRS_MAX, &devices);
}

/* What a worker said that is gone by now is not true any more. */
static const names *known(const names *said) {
    static const names nothing;
    return worker_ready(WORKER_MODELS) ? said : &nothing;
}

slice ai_report_backend_version(const char *backend) {
    const names *said = known(&backends);
    for (size_t i = 0; i + 1 < said->count; i += 2) {
        if (slice_is(said->items[i], backend)) return said->items[i + 1];
    }
    return (slice){NULL, 0};
}

/* ---- the sections ---- */

/* A field must stay one line, and its name one word. */
static void add_text(RedisModuleInfoCtx *ctx, const char *name, slice value) {
    char field[96], text[64];
    size_t len = value.len < sizeof(text) - 1 ? value.len : sizeof(text) - 1;
    snprintf(field, sizeof(field), "%s", name);
    for (char *c = field; *c; c++) {
        if ((unsigned char)*c <= ' ') *c = '_';
    }
    for (size_t i = 0; i < len; i++) text[i] = (unsigned char)value.data[i] < ' ' ? ' ' : value.data[i];
    text[len] = '\0';
    RedisModule_InfoAddFieldCString(ctx, field, text);
}

static void add_time(RedisModuleInfoCtx *ctx, const char *whose, const char *mode, const struct timeval *t) {
    char name[64], text[32];
    snprintf(name, sizeof(name), "%s_used_cpu_%s", whose, mode);
    snprintf(text, sizeof(text), "%ld.%06ld", (long)t->tv_sec, (long)t->tv_usec);
    RedisModule_InfoAddFieldCString(ctx, name, text);
}

static void write_versions(RedisModuleInfoCtx *ctx) {
    RedisModule_InfoAddFieldCString(ctx, "RedisAI_version", AI_COMPATIBLE_VERSION);
    RedisModule_InfoAddFieldCString(ctx, "low_level_API_version", AI_COMPATIBLE_LOW_LEVEL_API);
    RedisModule_InfoAddFieldLongLong(ctx, "rdb_version", AI_RDB_ENCODING);
}

static void write_git(RedisModuleInfoCtx *ctx) {
    RedisModule_InfoAddFieldCString(ctx, "git_sha", "keymiss-" KEYMISS_VERSION_TEXT);
}

static void write_load_time_configs(RedisModuleInfoCtx *ctx) {
    RedisModule_InfoAddFieldLongLong(ctx, "threads_per_queue", ai_options.threads_per_queue);
    RedisModule_InfoAddFieldLongLong(ctx, "inter_op_parallelism", ai_options.inter_op_parallelism);
    RedisModule_InfoAddFieldLongLong(ctx, "intra_op_parallelism", ai_options.intra_op_parallelism);
    RedisModule_InfoAddFieldLongLong(ctx, "model_execution_timeout", ai_options.model_execution_timeout_ms);
    RedisModule_InfoAddFieldLongLong(ctx, "backend_memory_limit", ai_options.backend_memory_limit_mb);
}

static void write_backends_info(RedisModuleInfoCtx *ctx) {
    const names *said = known(&backends);
    char name[64];
    for (size_t i = 0; i + 1 < said->count; i += 2) {
        snprintf(name, sizeof(name), "%.*s_version", (int)said->items[i].len, said->items[i].data);
        add_text(ctx, name, said->items[i + 1]);
    }
}

/* The thread that runs a device's batches: RedisAI had a queue of each device, and threads that served it. */
static void add_queue(RedisModuleInfoCtx *ctx, slice device, slice seconds) {
    char name[64];
    snprintf(name, sizeof(name), "queue_%.*s_bthread_n1_used_cpu_total", (int)device.len, device.data);
    add_text(ctx, name, seconds);
}

static void write_cpu(RedisModuleInfoCtx *ctx) {
    static const struct {
        int who;
        const char *name;
    } all[] = {{RUSAGE_SELF, "self"}, {RUSAGE_CHILDREN, "children"}, {RUSAGE_THREAD, "main_thread"}};
    const slice cpu = {"CPU", 3}, none = {"0.000000", 8};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct rusage usage;
        if (getrusage(all[i].who, &usage) != 0) continue;
        add_time(ctx, all[i].name, "sys", &usage.ru_stime);
        add_time(ctx, all[i].name, "user", &usage.ru_utime);
    }
    const names *said = known(&devices);
    bool has_cpu = false;
    for (size_t i = 0; i + 1 < said->count; i += 2) {
        add_queue(ctx, said->items[i], said->items[i + 1]);
        has_cpu = has_cpu || slice_is(said->items[i], "CPU");
    }
    if (!has_cpu) add_queue(ctx, cpu, none); /* the one device that there always is */
}

void ai_report(RedisModuleInfoCtx *ctx, int for_crash_report) {
    static const struct {
        const char *name;
        void (*write)(RedisModuleInfoCtx *ctx);
    } sections[] = {{"versions", write_versions},
                    {"git", write_git},
                    {"load_time_configs", write_load_time_configs},
                    {"backends_info", write_backends_info},
                    {"cpu", write_cpu}};
    (void)for_crash_report;
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        if (RedisModule_InfoAddSection(ctx, sections[i].name) == REDISMODULE_OK) sections[i].write(ctx);
    }
}
