/* hooks.h: commands that go through functions: KEYMISS.HOOK and KEYMISS.HOOKW stand in for them. */
#ifndef KEYMISS_HOOKS_H
#define KEYMISS_HOOKS_H

#include "redis_api.h"
#include "resp.h"

int hooks_init(RedisModuleCtx *ctx);

/* The hook command to put in front of a command that a function took over with register(hook=...), in any case; else NULL. */
const char *hooks_taken_over_by(slice command);

#endif
