/* info.c: see info.h. */
#include "info.h"

#include <stdio.h>

#include "ai_report.h"
#include "memory.h"
#include "worker.h"

enum { SECTIONS_MAX = 16 };

static struct {
    const char *name;
    info_writer writer;
} sections[SECTIONS_MAX];
static size_t section_count;

static char *models_said; /* the models worker's last INFO: JSON, one line */

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
}

/* INFO <text> ... of the models worker: INFO's lines must not be broken, so the text is kept on one. */
static void on_models_info(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    (void)ctx;
    (void)role;
    slice text = f->parts[1];
    memory.free(models_said);
    models_said = memory.alloc(text.len + 1);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        models_said[i] = c < ' ' ? ' ' : text.data[i];
    }
    models_said[text.len] = 0;
    ai_report_learn(f->parts + 2, f->count - 2);
}

static void write_models(RedisModuleInfoCtx *ctx) {
    RedisModule_InfoAddFieldCString(ctx, "worker", models_said ? models_said : "{}");
}

void info_init(RedisModuleCtx *ctx) {
    worker_on_verb(WORKER_MODELS, "INFO", 2, on_models_info);
    info_section("models_worker", write_models);
    RedisModule_RegisterInfoFunc(ctx, write_all);
}
