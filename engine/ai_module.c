/* ai_module.c: see ai_module.h. */
#include "ai_module.h"

#include <dlfcn.h>

#include "ai.h"
#include "ai_options.h"
#include "ai_report.h"
#include "unit.h"

static const char NAME[] = "ai";
enum { VERSION = 10207 }; /* of RedisAI, as clients compare it: AI_COMPATIBLE_VERSION */

int ai_module_load(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    if (RedisModule_IsModuleNameBusy(NAME)) {
        RedisModule_Log(ctx, REDISMODULE_LOGLEVEL_WARNING, "not loaded: it is loaded already, as keymiss and as %s", NAME);
        return REDISMODULE_ERR;
    }
    RedisModule_SetModuleAttribs(ctx, NAME, VERSION, REDISMODULE_APIVER);
    RedisModule_SetModuleOptions(ctx, REDISMODULE_OPTIONS_HANDLE_IO_ERRORS);
    if (ai_options_read(ctx, argv, argc) != REDISMODULE_OK || ai_options_init(ctx) != REDISMODULE_OK) {
        return REDISMODULE_ERR;
    }
    return RedisModule_RegisterInfoFunc(ctx, ai_report);
}

/* Where there is no MODULE LOAD (renamed), INFO lacks RedisAI's sections and all else is as ever. */
static void load_again(RedisModuleCtx *ctx, void *unused) {
    (void)unused;
    Dl_info library;
    RedisModuleCallReply *reply = NULL;
    if (RedisModule_IsModuleNameBusy(NAME)) return;
    if (dladdr(NAME, &library) != 0) reply = RedisModule_Call(ctx, "MODULE", "cc", "LOAD", library.dli_fname);
    if (!reply || RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_ERROR) {
        RedisModule_Log(ctx, REDISMODULE_LOGLEVEL_WARNING,
                        "INFO has no sections of RedisAI: this server refused MODULE LOAD of the module %s", NAME);
    }
    if (reply) RedisModule_FreeCallReply(reply);
}

int ai_module_init(RedisModuleCtx *ctx) {
    (void)ctx;
    unit_add(load_again, NULL);
    return REDISMODULE_OK;
}
