/* aliases.c: see aliases.h. */
#include "aliases.h"

#include <dlfcn.h>

#include "ai.h"
#include "ai_options.h"
#include "ai_report.h"
#include "unit.h"

typedef struct alias {
    const char *name;
    int version;                /* of the original, as clients compare it */
    RedisModuleInfoFunc report; /* NULL: no part of INFO */
} alias;

static const alias aliases[] = {
    {"ai", 10207, ai_report}, /* AI_COMPATIBLE_VERSION */
    {"rg", 10213, NULL},
};
enum { ALIASES = sizeof(aliases) / sizeof(aliases[0]) };

int aliases_load(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    const alias *a = aliases;
    while (a < aliases + ALIASES && RedisModule_IsModuleNameBusy(a->name)) a++;
    if (a == aliases + ALIASES) {
        RedisModule_Log(ctx, REDISMODULE_LOGLEVEL_WARNING, "not loaded: it is loaded already, by all of its names");
        return REDISMODULE_ERR;
    }
    RedisModule_SetModuleAttribs(ctx, a->name, a->version, REDISMODULE_APIVER);
    RedisModule_SetModuleOptions(ctx, REDISMODULE_OPTIONS_HANDLE_IO_ERRORS);
    if (ai_options_read(ctx, argv, argc) != REDISMODULE_OK || ai_options_init(ctx) != REDISMODULE_OK) {
        return REDISMODULE_ERR;
    }
    return a->report ? RedisModule_RegisterInfoFunc(ctx, a->report) : REDISMODULE_OK;
}

/* Where there is no MODULE LOAD (renamed), MODULE LIST and INFO lack the name and all else is as ever. */
static void load_again(RedisModuleCtx *ctx, void *unused) {
    (void)unused;
    Dl_info library;
    if (dladdr(aliases, &library) == 0) return;
    for (const alias *a = aliases; a < aliases + ALIASES; a++) {
        if (RedisModule_IsModuleNameBusy(a->name)) continue;
        RedisModuleCallReply *reply = RedisModule_Call(ctx, "MODULE", "cc", "LOAD", library.dli_fname);
        if (!reply || RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_ERROR) {
            RedisModule_Log(ctx, REDISMODULE_LOGLEVEL_WARNING,
                            "MODULE LIST and INFO do not show the module %s: this server refused MODULE LOAD", a->name);
        }
        if (reply) RedisModule_FreeCallReply(reply);
    }
}

int aliases_init(RedisModuleCtx *ctx) {
    (void)ctx;
    unit_add(load_again, NULL);
    return REDISMODULE_OK;
}
