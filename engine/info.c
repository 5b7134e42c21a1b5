/* info.c: see info.h. */
#include "info.h"

#include <stdio.h>

#include "ai_report.h"
#include "pairs.h"
#include "worker.h"

enum {
    SECTIONS_MAX = 24,
    PAIRS_MAX = 256, /* of one worker: some tens of numbers, and one for each of 64 functions */
};

static struct {
    const char *name;
    info_writer writer;
} sections[SECTIONS_MAX];
static size_t section_count;

static names said[WORKER_ROLES]; /* name, value, name, value ...; of the last INFO of the worker that is ready */

void info_section(const char *section, info_writer writer) {
    if (section_count == SECTIONS_MAX) return;
    sections[section_count].name = section;
    sections[section_count++].writer = writer;
}

static void write_all(RedisModuleInfoCtx *ctx, int for_crash_report) {
    (void)for_crash_report;
    for (size_t i = 0; i < section_count; i++) {
        if (RedisModule_InfoAddSection(ctx, sections[i].name) == REDISMODULE_OK) sections[i].writer(ctx);
    }
}

void info_histogram(RedisModuleInfoCtx *ctx, const char *name, const histogram *h) {
    const struct {
        const char *suffix;
        unsigned long long value;
    } fields[] = {{"count", h->count},
                  {"sum_us", h->sum_us},
                  {"max_us", h->max_us},
                  {"p50_us", histogram_quantile(h, 0.5)},
                  {"p99_us", histogram_quantile(h, 0.99)}};
    char field[96];
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        snprintf(field, sizeof(field), "%s_%s", name, fields[i].suffix);
        RedisModule_InfoAddFieldULongLong(ctx, field, fields[i].value);
    }
    snprintf(field, sizeof(field), "%s_buckets", name);
    RedisModule_InfoBeginDictField(ctx, field);
    unsigned long long within = 0;
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        within += h->within[i];
        snprintf(field, sizeof(field), "le_%s", histogram_bounds[i].text);
        RedisModule_InfoAddFieldULongLong(ctx, field, within);
    }
    RedisModule_InfoEndDictField(ctx);
}

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

void info_init(RedisModuleCtx *ctx) {
    for (int role = 0; role < WORKER_ROLES; role++) {
        worker_on_verb((worker_role)role, "INFO", 2, on_worker_info);
        worker_on_ready((worker_role)role, on_worker_ready);
    }
    info_section("functions_worker", write_functions);
    info_section("models_worker", write_models);
    RedisModule_RegisterInfoFunc(ctx, write_all);
}
