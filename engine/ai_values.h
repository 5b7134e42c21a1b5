/* ai_values.h: what commands on models and on scripts do alike. */
#ifndef KEYMISS_AI_VALUES_H
#define KEYMISS_AI_VALUES_H

#include "stored_values.h"

/* AI.MODELDEL and AI.SCRIPTDEL of such a key, or the error of one that holds something else; and replicate. */
int ai_values_delete(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, const stored_values *all);

/* AI._MODELSCAN and AI._SCRIPTSCAN: those that the user may read. */
int ai_values_scan(RedisModuleCtx *ctx, int argc, stored_values *all, slice (*tag)(const void *value));

#endif
