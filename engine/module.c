/* module.c: what the server learns of Keymiss when it loads the module: settings, parts and commands. */
#include <stdio.h>
#include <string.h>

#include "ai.h"
#include "ai_command.h"
#include "ai_options.h"
#include "aliases.h"
#include "calls.h"
#include "errors.h"
#include "events.h"
#include "hooks.h"
#include "info.h"
#include "jobs.h"
#include "kept.h"
#include "memory.h"
#include "peers.h"
#include "registrations.h"
#include "reply.h"
#include "rg.h"
#include "role.h"
#include "settings.h"
#include "stages.h"
#include "timers.h"
#include "trace.h"
#include "unit.h"
#include "version.h"
#include "worker.h"
#include "worker_info.h"

typedef struct command {
    const char *name;
    RedisModuleCmdFunc handler;
    const char *flags;                 /* as RedisModule_CreateCommand takes them */
    int first_key, last_key, key_step; /* 0: no keys */
    int key_use;                       /* REDISMODULE_CMD_KEY_*; 0: told when asked (getkeys-api), or no keys */
    const char *categories;            /* of ACLs, where the server lets modules say (Redis 7.2, Valkey) */
    const char *summary;
} command;

enum { KEY_REMOVED = REDISMODULE_CMD_KEY_RM | REDISMODULE_CMD_KEY_DELETE };
#define READS "readonly", 1, 1, 1, AI_KEY_READ, "read slow"
#define STORES "write deny-oom", 1, 1, 1, AI_KEY_STORED
#define REMOVES "write", 1, 1, 1, KEY_REMOVED, "write slow"
#define SCANS "readonly", 0, 0, 0, 0, "read slow"
/* The position is the original's, for COMMAND INFO. */
#define RUNS(position) "write deny-oom getkeys-api", position, position, 1, 0, "write slow blocking"
#define RUNS_READONLY(position) "readonly getkeys-api", position, position, 1, 0, "read slow blocking"

static const command commands[] = {
    {WAITER_ANSWER_COMMAND, waiter_answer_command, "fast allow-stale allow-loading", 0, 0, 0, 0, "dangerous",
     "Used by the module itself"},
    {"ai.tensorset", ai_tensorset, STORES, "write slow", "Stores a tensor"},
    {"ai.tensorget", ai_tensorget, READS, "Returns a tensor: its dtype and shape, its bytes, its values"},
    {"ai.modelstore", ai_modelstore, STORES, "write slow blocking", "Stores a model"},
    {"ai.modelset", ai_modelset, STORES, "write slow blocking", "Stores a model; older than AI.MODELSTORE"},
    {"ai.modelget", ai_modelget, READS, "Returns a model: what it says about itself, its bytes"},
    {"ai.modeldel", ai_modeldel, REMOVES, "Deletes a model"},
    {"ai._modelscan", ai_modelscan, SCANS, "Returns the keys and tags of all models"},
    {"ai.modelexecute", ai_modelexecute, RUNS(4), "Runs a model on tensors and stores its outputs"},
    {"ai.modelrun", ai_modelrun, RUNS(3), "Runs a model; older than AI.MODELEXECUTE"},
    {"ai.scriptstore", ai_scriptstore, STORES, "write slow blocking", "Stores a script and its entry points"},
    {"ai.scriptset", ai_scriptset, STORES, "write slow blocking", "Stores a script; older than AI.SCRIPTSTORE"},
    {"ai.scriptget", ai_scriptget, READS, "Returns a script: what it says about itself, its source"},
    {"ai.scriptdel", ai_scriptdel, REMOVES, "Deletes a script"},
    {"ai._scriptscan", ai_scriptscan, SCANS, "Returns the keys and tags of all scripts"},
    {"ai.scriptexecute", ai_scriptexecute, RUNS(5), "Runs a function of a script and stores its outputs"},
    {"ai.scriptrun", ai_scriptrun, RUNS(4), "Runs a function of a script; older than AI.SCRIPTEXECUTE"},
    {"ai.dagexecute", ai_dagexecute, RUNS(3), "Runs operations that know each other's tensors by local names"},
    {"ai.dagexecute_ro", ai_dagexecute_ro, RUNS_READONLY(3), "The same, of operations that store nothing"},
    {"ai.dagrun", ai_dagrun, RUNS(3), "Runs operations; older than AI.DAGEXECUTE"},
    {"ai.dagrun_ro", ai_dagrun_ro, RUNS_READONLY(3), "The same, of operations that store nothing"},
    {"ai.info", ai_info, READS, "Returns the counters of a model or a script, or whose commands these are"},
    {"keymiss.trace", trace_command, READS, "Answers a question anew and tells how long each stage of that took"},
    {"ai.config", ai_config, "readonly", 0, 0, 0, 0, "admin slow dangerous", "Returns or changes what can be set"},
};

/* Its summary, and what becomes of its key, which CreateCommand takes for read and written. */
static int describe(RedisModuleCommand *created, const command *c) {
    const RedisModuleCommandInfoVersion version = {.version = 1, .sizeof_keyspec = sizeof(RedisModuleCommandKeySpec)};
    RedisModuleCommandKeySpec keys[] = {{.flags = (uint64_t)c->key_use,
                                         .begin_search_type = REDISMODULE_KSPEC_BS_INDEX,
                                         .bs.index.pos = c->first_key,
                                         .find_keys_type = REDISMODULE_KSPEC_FK_RANGE,
                                         .fk.range = {.lastkey = 0, .keystep = c->key_step}},
                                        {0}};
    const RedisModuleCommandInfo info = {
        .version = &version, .summary = c->summary, .key_specs = c->key_use != 0 ? keys : NULL};
    return RedisModule_SetCommandInfo(created, &info);
}

static bool categories_wanted(void) {
    return strcmp(settings.acl_categories, "yes") == 0;
}

/* Those of RedisAI where the settings say so; they are in @ai too, where a server has categories of modules. */
static void put_in_categories(RedisModuleCommand *created, const command *c, bool own_category) {
    char categories[64];
    bool of_redisai = strncmp(c->name, "ai.", 3) == 0;
    if (!RedisModule_SetCommandACLCategories || (of_redisai && !categories_wanted())) return;
    snprintf(categories, sizeof(categories), "%s%s", c->categories, of_redisai && own_category ? " ai" : "");
    RedisModule_SetCommandACLCategories(created, categories);
}

static int create_commands(RedisModuleCtx *ctx) {
    bool own_category = categories_wanted() && RedisModule_AddACLCategory &&
                        RedisModule_AddACLCategory(ctx, "ai") == REDISMODULE_OK;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        const command *c = &commands[i];
        RedisModuleCommand *created = NULL;
        if (RedisModule_CreateCommand(ctx, c->name, c->handler, c->flags, c->first_key, c->last_key, c->key_step) ==
            REDISMODULE_OK) {
            created = RedisModule_GetCommand(ctx, c->name);
        }
        if (!created || describe(created, c) != REDISMODULE_OK) {
            RedisModule_Log(ctx, REDISMODULE_LOGLEVEL_WARNING, "not loaded: the server refused the command %s", c->name);
            return REDISMODULE_ERR;
        }
        put_in_categories(created, c, own_category);
    }
    return REDISMODULE_OK;
}

/* What the server may refuse, each with its line in the log, comes first. Redis 7.0 unmaps a module that it refused, and
 * calls its timers, listeners and filters all the same. */
static int (*const parts[])(RedisModuleCtx *ctx) = {
    settings_init, ai_options_init, create_commands,      kept_init,    registrations_init, events_init,  hooks_init, rg_init,
    ai_init,       role_init,       registrations_listen, hooks_listen, peers_init,         aliases_init, worker_listen,
    timers_listen};

static void use_server_memory(void) {
    memory.alloc = RedisModule_Alloc;
    memory.try_alloc = RedisModule_TryAlloc;
    memory.realloc = RedisModule_Realloc;
    memory.free = RedisModule_Free;
}

__attribute__((visibility("default"))) int RedisModule_OnLoad(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);

int RedisModule_OnLoad(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    static bool loaded;
    if (loaded) return aliases_load(ctx, argv, argc);
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
    /* A payload that ends early is for the loader to refuse: else the server stops, whoever sent the RESTORE. A key that was
     * opened for writing and left as it was has not changed: typed_key_close_changed tells of those that have. */
    RedisModule_SetModuleOptions(
        ctx, REDISMODULE_OPTIONS_HANDLE_IO_ERRORS | REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED);
    use_server_memory();
    if (ai_options_read(ctx, argv, argc) != REDISMODULE_OK) return REDISMODULE_ERR;
    timers_init(ctx);
    unit_init(ctx);
    reply_init(ctx);
    worker_init(ctx);
    jobs_init(ctx);
    calls_init(ctx);
    info_init(ctx);
    worker_info_init();
    stages_init();
    errors_init();
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (parts[i](ctx) != REDISMODULE_OK) return REDISMODULE_ERR;
    }
    worker_begin();
    loaded = true;
    return REDISMODULE_OK;
}
