/* ai_run.h: models at work: AI.MODELEXECUTE and AI.MODELRUN (ai.h), and the functions worker's RUN. */
#ifndef KEYMISS_AI_RUN_H
#define KEYMISS_AI_RUN_H

#include "calls.h"

/* RUN: the handler for calls_on_run. */
void ai_run_for_function(RedisModuleCtx *ctx, const run_request *request);

#endif
