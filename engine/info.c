/* info.c: see info.h. */
#include "info.h"

#include <assert.h>
#include <stdio.h>

enum { SECTIONS_MAX = 24 };

static struct {
    const char *name;
    info_writer writer;
} sections[SECTIONS_MAX];
static size_t section_count;

void info_section(const char *section, info_writer writer) {
    assert(section_count < SECTIONS_MAX);
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

void info_init(RedisModuleCtx *ctx) {
    RedisModule_RegisterInfoFunc(ctx, write_all);
}
