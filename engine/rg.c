/* rg.c: one handler forwards every RG.* command and gives the worker's reply to the client. What they mean is the
 * business of keymiss/functions; here is only who may wait for them, how long, and what happens where nobody may.
 *
 * The original registers all of them as readonly, of any arity and, but for one, without keys: clients see that in COMMAND,
 * and wrong arity is an error of the command itself. */
#include "rg.h"

#include "calls.h"
#include "forward.h"
#include "info.h"
#include "job_flags.h"
#include "settings.h"

#include <string.h>

/* Inside MULTI, a script or a function nobody can be blocked. Most commands are short: there the main thread waits. */
typedef enum where_blocking_is_denied { WAIT, REFUSE } where_blocking_is_denied;

static const struct rg_command {
    const char *name;
    int key; /* position of its one key; 0: none */
    where_blocking_is_denied denied;
    bool runs_functions; /* has the time of an execution, not that of a job */
} commands[] = {
    {"rg.pyexecute", 0, REFUSE, true},
    {"rg.getresultsblocking", 0, REFUSE, true},
    {"rg.pyexportreq", 0, REFUSE, true},
    {"rg.pyimportreq", 0, REFUSE, true},
    {"rg.trigger", 0, WAIT, true},
    {"rg.triggeronkey", 2, WAIT, true},
    {"rg.abortexecution", 0, WAIT, false},
    {"rg.clearregistrationsstats", 0, WAIT, false},
    {"rg.configget", 0, WAIT, false},
    {"rg.configset", 0, WAIT, false},
    {"rg.dropexecution", 0, WAIT, false},
    {"rg.dumpexecutions", 0, WAIT, false},
    {"rg.dumpplugins", 0, WAIT, false},
    {"rg.dumpregistrations", 0, WAIT, false},
    {"rg.getexecution", 0, WAIT, false},
    {"rg.getresults", 0, WAIT, false},
    {"rg.infocluster", 0, WAIT, false},
    {"rg.pauseregistrations", 0, WAIT, false},
    {"rg.pydumpreqs", 0, WAIT, false},
    {"rg.pydumpsessions", 0, WAIT, false},
    {"rg.pyprofile", 0, WAIT, false},
    {"rg.pystats", 0, WAIT, false},
    {"rg.refreshcluster", 0, WAIT, false},
    {"rg.unpauseregistrations", 0, WAIT, false},
    {"rg.unregister", 0, WAIT, false},
};

static const char *const REFUSED = "Can not run gears inside a multi exec, lua, or when blocking is not allowed";

static unsigned long long forwarded;

static const struct rg_command *find_command(RedisModuleString *name) {
    slice text;
    text.data = RedisModule_StringPtrLen(name, &text.len);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (slice_is_word(text, commands[i].name)) return &commands[i];
    }
    return NULL;
}

static long long execution_deadline_ms(void) {
    return settings.execution_timeout_ms > 0 ? settings.execution_timeout_ms : -1; /* 0: as long as it takes */
}

/* RG.<NAME> [<argument> ...]: the reply is the worker's. */
static int forward(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    const struct rg_command *command = find_command(argv[0]);
    int flags = RedisModule_GetContextFlags(ctx);
    bool denied = job_flags_deny_blocking(flags);
    if (!command) return RedisModule_ReplyWithError(ctx, "ERR unknown command");
    if (denied && command->denied == REFUSE) return RedisModule_ReplyWithError(ctx, REFUSED);

    /* A function's execute() may not block either, but it waits by itself: its RESULT comes later. */
    asker caller;
    bool nested = flags & (REDISMODULE_CTX_FLAGS_MULTI | REDISMODULE_CTX_FLAGS_LUA);
    bool sync = denied && (nested || jobs_waiting() || !calls_current(&caller));
    job_request request = {
        .role = WORKER_FUNCTIONS,
        .kind = JOB_COMMAND,
        .deadline_ms = command->runs_functions ? execution_deadline_ms() : 0,
        .db = RedisModule_GetSelectedDb(ctx),
        .sync = sync,
    };
    frame_init(&request.body);
    frame_add_number(&request.body, request.db);
    job_flags_add(&request.body, flags, sync, false, 0);
    forward_add_arguments(&request.body, argv, argc);
    forwarded++;
    return forward_job(ctx, &request, REFUSED);
}

static void write_info(RedisModuleInfoCtx *info) {
    RedisModule_InfoAddFieldULongLong(info, "rg_commands", forwarded);
}

int rg_init(RedisModuleCtx *ctx) {
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        int key = commands[i].key;
        if (RedisModule_CreateCommand(ctx, commands[i].name, forward, "readonly", key, key, key ? 1 : 0) != REDISMODULE_OK) {
            return REDISMODULE_ERR;
        }
    }
    info_section("commands", write_info);
    return REDISMODULE_OK;
}
