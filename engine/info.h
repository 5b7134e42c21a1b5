/* info.h: INFO keymiss, and the counters behind it. Durations in microseconds. */
#ifndef KEYMISS_INFO_H
#define KEYMISS_INFO_H

#include "redis_api.h"

/* Adds fields to the section that was just begun (RedisModule_InfoAddField...). Names are lower_snake_case. */
typedef void (*info_writer)(RedisModuleInfoCtx *ctx);

void info_init(RedisModuleCtx *ctx);
/* A section of INFO keymiss: INFO shows it as keymiss_<section>. Name and writer live as long as the module. */
void info_section(const char *section, info_writer writer);

/* A distribution of durations: count, sum, max and, from buckets a quarter of an octave wide, quantiles within 19 %. */
enum { HISTOGRAM_BUCKETS = 160 };
typedef struct histogram {
    unsigned long long count, sum_us, max_us;
    unsigned long long buckets[HISTOGRAM_BUCKETS];
} histogram;
void histogram_add(histogram *h, unsigned long long us);
unsigned long long histogram_quantile(const histogram *h, double q);
/* Adds <name>_count, _sum_us, _max_us, _p50_us and _p99_us. */
void info_histogram(RedisModuleInfoCtx *ctx, const char *name, const histogram *h);

#endif
