/* module.c: what the server learns of Keymiss when it loads the module: settings, parts and commands. */
#include "ai.h"
#include "ai_module.h"
#include "ai_options.h"
#include "calls.h"
#include "events.h"
#include "hooks.h"
#include "info.h"
#include "jobs.h"
#include "memory.h"
#include "peers.h"
#include "registrations.h"
#include "reply.h"
#include "rg.h"
#include "settings.h"
#include "unit.h"
#include "version.h"
#include "worker.h"

typedef struct command {
    const char *name;
    RedisModuleCmdFunc handler;
    const char *flags;                 /* as RedisModule_CreateCommand takes them */
    int first_key, last_key, key_step; /* 0: no keys */
    const char *categories;            /* of ACLs, where the server lets modules say (Redis 7.2, Valkey) */
} command;

static const command commands[] = {
    {WAITER_ANSWER_COMMAND, waiter_answer_command, "fast allow-stale allow-loading", 0, 0, 0, "dangerous"},
    /* Where keys are told when asked (getkeys-api), the numbers are the original's, for COMMAND INFO. */
    {"ai.tensorset", ai_tensorset, "write deny-oom", 1, 1, 1, "write slow"},
    {"ai.tensorget", ai_tensorget, "readonly", 1, 1, 1, "read slow"},
    {"ai.modelstore", ai_modelstore, "write deny-oom", 1, 1, 1, "write slow blocking"},
    {"ai.modelset", ai_modelset, "write deny-oom", 1, 1, 1, "write slow blocking"},
    {"ai.modelget", ai_modelget, "readonly", 1, 1, 1, "read slow"},
    {"ai.modeldel", ai_modeldel, "write", 1, 1, 1, "write slow"},
    {"ai._modelscan", ai_modelscan, "readonly", 0, 0, 0, "read slow"},
    {"ai.modelexecute", ai_modelexecute, "write deny-oom getkeys-api", 4, 4, 1, "write slow blocking"},
    {"ai.modelrun", ai_modelrun, "write deny-oom getkeys-api", 3, 3, 1, "write slow blocking"},
    {"ai.scriptstore", ai_scriptstore, "write deny-oom", 1, 1, 1, "write slow blocking"},
    {"ai.scriptset", ai_scriptset, "write deny-oom", 1, 1, 1, "write slow blocking"},
    {"ai.scriptget", ai_scriptget, "readonly", 1, 1, 1, "read slow"},
    {"ai.scriptdel", ai_scriptdel, "write", 1, 1, 1, "write slow"},
    {"ai._scriptscan", ai_scriptscan, "readonly", 0, 0, 0, "read slow"},
    {"ai.scriptexecute", ai_scriptexecute, "write deny-oom getkeys-api", 5, 5, 1, "write slow blocking"},
    {"ai.scriptrun", ai_scriptrun, "write deny-oom getkeys-api", 4, 4, 1, "write slow blocking"},
    {"ai.dagexecute", ai_dagexecute, "write deny-oom getkeys-api", 3, 3, 1, "write slow blocking"},
    {"ai.dagexecute_ro", ai_dagexecute_ro, "readonly getkeys-api", 3, 3, 1, "read slow blocking"},
    {"ai.dagrun", ai_dagrun, "write deny-oom getkeys-api", 3, 3, 1, "write slow blocking"},
    {"ai.dagrun_ro", ai_dagrun_ro, "readonly getkeys-api", 3, 3, 1, "read slow blocking"},
    {"ai.info", ai_info, "readonly", 1, 1, 1, "read slow"},
    {"ai.config", ai_config, "readonly", 0, 0, 0, "admin slow dangerous"},
};

static int create_commands(RedisModuleCtx *ctx) {
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        const command *c = &commands[i];
        if (RedisModule_CreateCommand(ctx, c->name, c->handler, c->flags, c->first_key, c->last_key, c->key_step) !=
            REDISMODULE_OK) {
            RedisModule_Log(ctx, REDISMODULE_LOGLEVEL_WARNING, "not loaded: the server refused the command %s", c->name);
            return REDISMODULE_ERR;
        }
        RedisModuleCommand *created = RedisModule_GetCommand(ctx, c->name);
        if (created && RedisModule_SetCommandACLCategories) {
            RedisModule_SetCommandACLCategories(created, c->categories);
        }
    }
    return REDISMODULE_OK;
}

/* Parts that can be refused by the server, each with its line in the log. */
static int (*const parts[])(RedisModuleCtx *ctx) = {settings_init,  ai_options_init,    create_commands, ai_init,
                                                    ai_module_init, registrations_init, events_init,     hooks_init,
                                                    peers_init,     rg_init};

static void use_server_memory(void) {
    memory.alloc = RedisModule_Alloc;
    memory.try_alloc = RedisModule_TryAlloc;
    memory.realloc = RedisModule_Realloc;
    memory.free = RedisModule_Free;
}

__attribute__((visibility("default"))) int RedisModule_OnLoad(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);

int RedisModule_OnLoad(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    static bool loaded;
    if (loaded) return ai_module_load(ctx, argv, argc);
    const char *missing = redis_api_load(ctx);
    if (RedisModule_SetModuleAttribs) {
        RedisModule_SetModuleAttribs(ctx, "keymiss", KEYMISS_VERSION, REDISMODULE_APIVER);
    }
    if (missing) {
        if (RedisModule_Log) {
            RedisModule_Log(ctx, REDISMODULE_LOGLEVEL_WARNING,
                            "not loaded: this server has no %s; Keymiss needs Redis 7.0 or Valkey 8.0, or newer", missing);
        }
        return REDISMODULE_ERR;
    }
    if (RedisModule_IsModuleNameBusy && RedisModule_IsModuleNameBusy("keymiss")) {
        RedisModule_Log(ctx, REDISMODULE_LOGLEVEL_WARNING, "not loaded: there is a module called keymiss already");
        return REDISMODULE_ERR;
    }
    /* A payload that ends early is for the loader to refuse: else the server stops, whoever sent the RESTORE. */
    RedisModule_SetModuleOptions(ctx, REDISMODULE_OPTIONS_HANDLE_IO_ERRORS);
    use_server_memory();
    if (ai_options_read(ctx, argv, argc) != REDISMODULE_OK) return REDISMODULE_ERR;
    unit_init(ctx);
    worker_init(ctx);
    jobs_init(ctx);
    calls_init(ctx);
    info_init(ctx);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (parts[i](ctx) != REDISMODULE_OK) return REDISMODULE_ERR;
    }
    loaded = true;
    return REDISMODULE_OK;
}
