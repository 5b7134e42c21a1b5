/* aliases.h: the modules `ai` and `rg`: the names by which MODULE LIST and INFO show RedisAI and RedisGears, and by
 * which clients look for them.
 *
 * INFO puts the name of a module before its sections and fields, so RedisAI's can only be those of a module of that
 * name. The server therefore loads this library once more for each name: it is one and the same in memory, and these
 * times it brings nothing but the name and its part of INFO. The commands, types and settings are those of `keymiss`.
 * An alias holds nothing, so it may be unloaded, and CONFIG REWRITE may write all lines in any order. */
#ifndef KEYMISS_ALIASES_H
#define KEYMISS_ALIASES_H

#include "redis_api.h"

/* Soon after this: have the server load this library again for each name that it has not loaded already. */
int aliases_init(RedisModuleCtx *ctx);
/* What RedisModule_OnLoad does from the second time on: it takes the first name that is free. */
int aliases_load(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);

#endif
