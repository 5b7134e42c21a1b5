/* info.h: INFO keymiss: each part of the engine writes a section of its own. */
#ifndef KEYMISS_INFO_H
#define KEYMISS_INFO_H

#include "histogram.h"
#include "redis_api.h"

/* Adds fields to the section that was just begun (RedisModule_InfoAddField...). Names are lower_snake_case. */
typedef void (*info_writer)(RedisModuleInfoCtx *ctx);

void info_init(RedisModuleCtx *ctx);
/* A section of INFO keymiss: INFO shows it as keymiss_<section>. Name and writer live as long as the module. */
void info_section(const char *section, info_writer writer);

/* Adds <name>_count, _sum_us, _max_us, _p50_us, _p99_us, and _buckets: how many were within each bound, le_50us=3,le_100us=4,... */
void info_histogram(RedisModuleInfoCtx *ctx, const char *name, const histogram *h);

#endif
