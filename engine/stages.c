/* stages.c: see stages.h. */
#include "stages.h"

#include <stdio.h>

#include "info.h"

enum { SECOND_US = 1000000 };

static histogram stages[STAGES];

void stage_add(stage s, uint64_t us) {
    histogram_add(&stages[s], us);
}

/* Asked for a command that missed only, so that those which hit pay for no clock. The server looks at its own when a command
 * begins, but tells modules since Redis 7.2 only: before, it is the time when the key was found missing. */
uint64_t stage_command_seen_us(void) {
    uint64_t now_us = RedisModule_MonotonicMicroseconds();
    if (!RedisModule_CachedMicroseconds || !RedisModule_Microseconds) return now_us;
    long long age_us = RedisModule_Microseconds() - RedisModule_CachedMicroseconds();
    bool sensible = age_us > 0 && age_us < SECOND_US; /* these are of the calendar, which may be set meanwhile */
    return sensible ? now_us - (uint64_t)age_us : now_us;
}

static void write_info(RedisModuleInfoCtx *ctx) {
    static const char *const names[STAGES] = {"stage_hook", "stage_queue", "stage_reply"};
    for (int s = 0; s < STAGES; s++) info_histogram(ctx, names[s], &stages[s]);
}

void stages_init(void) {
    info_section("stages", write_info);
}
