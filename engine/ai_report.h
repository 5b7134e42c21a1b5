/* ai_report.h: INFO's sections of the module `ai`, with the names that RedisAI 1.2 gave them. */
#ifndef KEYMISS_AI_REPORT_H
#define KEYMISS_AI_REPORT_H

#include "redis_api.h"
#include "resp.h"

/* Writes versions, git, load_time_configs, backends_info and cpu. */
void ai_report(RedisModuleInfoCtx *ctx, int for_crash_report);

/* What the models worker's INFO says behind its numbers: <n> (<backend> <version>)*n <n> (<device> <cpu_seconds>)*n, of the
 * backends that it has loaded and the devices that it has used. What is malformed is left out. */
void ai_report_learn(const slice *parts, size_t count);

/* The version of a backend's library, valid until the next call from the event loop; its data is NULL while no models
 * worker has loaded that backend. */
slice ai_report_backend_version(const char *backend);

#endif
