/* hooks.h: commands that go through functions: KEYMISS.HOOK and KEYMISS.HOOKW stand in for them. */
#ifndef KEYMISS_HOOKS_H
#define KEYMISS_HOOKS_H

#include "redis_api.h"

int hooks_init(RedisModuleCtx *ctx);

#endif
