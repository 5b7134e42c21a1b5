/* ai_module.h: the module `ai`: the name by which MODULE LIST and INFO show RedisAI, and by which clients look for it.
 *
 * INFO puts the name of a module before its sections and fields, so RedisAI's can only be those of a module of that
 * name. The server therefore loads this library once more: it is one and the same in memory, and the second time it
 * brings nothing but the name and its part of INFO. The commands, types and settings are those of `keymiss`. It holds
 * nothing, so it may be unloaded, and CONFIG REWRITE may write both lines in any order. */
#ifndef KEYMISS_AI_MODULE_H
#define KEYMISS_AI_MODULE_H

#include "redis_api.h"

/* Soon after this: have the server load this library again, unless it did so already. */
int ai_module_init(RedisModuleCtx *ctx);
/* What RedisModule_OnLoad does the second time. */
int ai_module_load(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);

#endif
