/* info.c: see info.h. */
#include "info.h"

#include <stdio.h>

#include "memory.h"
#include "worker.h"

enum { SECTIONS_MAX = 16, BUCKETS_PER_OCTAVE = 4 };

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

/* Bucket 4 * k + f holds [2^k * (1 + f / 4), 2^k * (1 + (f + 1) / 4)) us; under 4 us each microsecond has its own. */
static size_t bucket_of(unsigned long long us) {
    if (us < BUCKETS_PER_OCTAVE) return (size_t)us;
    unsigned octave = 63 - (unsigned)__builtin_clzll(us);
    size_t bucket = BUCKETS_PER_OCTAVE * octave + (size_t)(us >> (octave - 2)) - BUCKETS_PER_OCTAVE;
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/* The largest duration of a bucket. */
static unsigned long long bucket_end(size_t bucket) {
    if (bucket < 2 * BUCKETS_PER_OCTAVE) return bucket < BUCKETS_PER_OCTAVE ? bucket : BUCKETS_PER_OCTAVE;
    unsigned octave = (unsigned)(bucket / BUCKETS_PER_OCTAVE);
    unsigned long long part = bucket % BUCKETS_PER_OCTAVE;
    return ((part + BUCKETS_PER_OCTAVE + 1) << (octave - 2)) - 1;
}

void histogram_add(histogram *h, unsigned long long us) {
    h->count++;
    h->sum_us += us;
    if (us > h->max_us) h->max_us = us;
    h->buckets[bucket_of(us)]++;
}

unsigned long long histogram_quantile(const histogram *h, double q) {
    unsigned long long wanted = (unsigned long long)(q * (double)h->count), seen = 0;
    if (h->count == 0) return 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen > wanted) return bucket_end(i) < h->max_us ? bucket_end(i) : h->max_us;
    }
    return h->max_us;
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

/* INFO <text> of the models worker: INFO's lines must not be broken, so it is kept on one. */
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
}

static void write_models(RedisModuleInfoCtx *ctx) {
    RedisModule_InfoAddFieldCString(ctx, "worker", models_said ? models_said : "{}");
}

void info_init(RedisModuleCtx *ctx) {
    worker_on_verb(WORKER_MODELS, "INFO", 2, on_models_info);
    info_section("models_worker", write_models);
    RedisModule_RegisterInfoFunc(ctx, write_all);
}
