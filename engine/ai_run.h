/* ai_run.h: models at work: AI.MODELEXECUTE and AI.MODELRUN (ai.h), and the functions worker's RUN. */
#ifndef KEYMISS_AI_RUN_H
#define KEYMISS_AI_RUN_H

#include "calls.h"

/* RUN: the handler for calls_on_run. */
void ai_run_for_function(RedisModuleCtx *ctx, const run_request *request);

typedef struct ai_run_totals {
    long long done, failed, timed_out; /* failed: refused by the model or its worker, or not stored */
} ai_run_totals;
extern ai_run_totals ai_runs;

#endif
