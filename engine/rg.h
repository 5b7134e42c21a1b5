/* rg.h: the RG.* commands: the module hands them to the functions worker whole. */
#ifndef KEYMISS_RG_H
#define KEYMISS_RG_H

#include "redis_api.h"

int rg_init(RedisModuleCtx *ctx);

#endif
