/* hooks.c
 *
 * A command filter puts KEYMISS.HOOK, or KEYMISS.HOOKW for a command that writes, in front of a command that a registration
 * names and whose arguments may hold a key of it. The hook runs the command and looks at the events that it fired.
 *
 * 1. The filter comes before the server's checks. The hook command stands in for the original in all of them: it has the
 *    original's keys (so ACL key patterns, cluster redirects and client tracking hold) and is a write command if that
 *    is one (so READONLY, MULTI on a replica, disk errors and missing replicas are refused as always).
 * 2. What the stand-in cannot show, the user's right to the original command, is checked where that runs (the "C" of
 *    RM_Call), as are memory limits ("M") and what scripts may not do ("S"); KEYMISS.HOOK itself runs no write ("W").
 *    So it is no way around anything when it is called by name. A user needs the right to the hook command too.
 * 3. Commands that the module runs are not hooked (NOSELF): a function that reads the key it was called for sees a plain
 *    miss. What an execution runs is, as it ever was, but by calls.c: only sync functions can answer it, since it does
 *    not wait. Commands of the master are run as they are.
 * 4. A command is propagated by running it ("!"), as the original, never as the hook. */
#include "hooks.h"

#include "forward.h"
#include "info.h"
#include "job_flags.h"
#include "misses.h"
#include "registrations.h"
#include "role.h"
#include "users.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const NOT_HERE =
    "ERR can not run a non-sync execution inside a MULTI/LUA (blocking is not allowed) or on loading.";

static const char HOOK_READ[] = "KEYMISS.HOOK", HOOK_WRITE[] = "KEYMISS.HOOKW";
static RedisModuleString *hook_read_name, *hook_write_name;

static struct {
    unsigned long long commands, taken_over, hits;
} stats;

/* The filter. */

static bool may_concern(const hooked_command *command, RedisModuleCommandFilterCtx *filter) {
    if (prefix_table_matches(command->patterns, "", 0)) return true; /* every key, or no key at all */
    int argc = RedisModule_CommandFilterArgsCount(filter);
    for (int i = 1; i < argc; i++) {
        size_t len;
        const char *text = RedisModule_StringPtrLen(RedisModule_CommandFilterArgGet(filter, i), &len);
        if (prefix_table_matches(command->patterns, text, len)) return true;
    }
    return false;
}

static void filter_command(RedisModuleCommandFilterCtx *filter) {
    if (hooked_commands_count == 0) return;
    size_t len;
    const char *name = RedisModule_StringPtrLen(RedisModule_CommandFilterArgGet(filter, 0), &len);
    const hooked_command *command = hooked_commands_find(name, len);
    if (!command || !command->known || !may_concern(command, filter)) return;
    RedisModuleString *hook = command->writes ? hook_write_name : hook_read_name;
    RedisModule_RetainString(NULL, hook); /* the server takes this reference over */
    RedisModule_CommandFilterArgInsert(filter, 0, hook);
}

/* Running the original. argv and argc here and below: the original command. */

static RedisModuleCallReply *run(RedisModuleCtx *ctx, const char *format, RedisModuleString **argv, int argc) {
    errno = 0;
    return RedisModule_Call(ctx, RedisModule_StringPtrLen(argv[0], NULL), format, argv + 1, (size_t)argc - 1);
}

/* Another module runs the command. The number alone may be one that a command which was run has left. */
static bool has_no_user(RedisModuleCallReply *reply) {
    return errno == ENOTSUP && (!reply || RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_ERROR);
}

RedisModuleCallReply *hooks_run_as_client(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, bool writes) {
    RedisModuleCallReply *reply = run(ctx, writes ? "!0CSMEv" : "0CSMWEv", argv, argc);
    if (has_no_user(reply)) {
        if (reply) RedisModule_FreeCallReply(reply);
        reply = run(ctx, writes ? "!0SMEv" : "0SMWEv", argv, argc);
    }
    return reply;
}

/* Older servers word it as an internal error. */
static bool is_denied(RedisModuleCallReply *reply) {
    if (errno != EACCES || RedisModule_CallReplyType(reply) != REDISMODULE_REPLY_ERROR) return false;
    size_t len;
    const char *text = RedisModule_CallReplyStringPtr(reply, &len);
    return !(len >= 6 && memcmp(text, "NOPERM", 6) == 0);
}

int hooks_give(RedisModuleCtx *ctx, RedisModuleCallReply *reply) {
    if (!reply) return RedisModule_ReplyWithError(ctx, "ERR the command could not be run");
    if (is_denied(reply)) {
        RedisModule_FreeCallReply(reply);
        return RedisModule_ReplyWithError(ctx, USERS_NO_PERMISSION);
    }
    RedisModule_ReplyWithCallReply(ctx, reply);
    RedisModule_FreeCallReply(reply);
    return REDISMODULE_OK;
}

/* register(hook=...): the function runs instead of the command. */

static bool has_key_of(RedisModuleCtx *ctx, const registration *r, RedisModuleString **argv, int argc) {
    if (slice_is(r->prefix, "*")) return true;
    int count = 0, *flags = NULL;
    int *positions = RedisModule_GetCommandKeysWithFlags(ctx, argv, argc, &count, &flags);
    bool found = false;
    for (int i = 0; positions && i < count && !found; i++) {
        size_t len;
        const char *key = RedisModule_StringPtrLen(argv[positions[i]], &len);
        found = prefix_matches(r->prefix.data, r->prefix.len, key, len);
    }
    RedisModule_Free(positions);
    RedisModule_Free(flags);
    return found;
}

/* The one registered last: what was there before is behind its call_next. */
static registration *find_taker(RedisModuleCtx *ctx, const hooked_command *command, RedisModuleString **argv, int argc) {
    for (size_t i = command->registrations_count; i > 0; i--) {
        registration *r = command->registrations[i - 1];
        if (r->kind == REGISTRATION_HOOK && has_key_of(ctx, r, argv, argc)) return r;
    }
    return NULL;
}

/* A function may be given fewer arguments than the command takes, or more. The server can be asked only about as many as it
 * takes: those that are missing are asked about as empty ones. */
static users_verdict may_run(RedisModuleCtx *ctx, const hooked_command *command, RedisModuleString **argv, int argc) {
    RedisModuleString *name = users_current_name(ctx);
    if (!name) return USERS_MAY;
    int least = abs(command->arity), asked_argc = command->arity > 0 || argc < least ? least : argc;
    RedisModuleString *empty = RedisModule_CreateString(NULL, "", 0);
    RedisModuleString **asked = RedisModule_Alloc((size_t)asked_argc * sizeof *asked);
    for (int i = 0; i < asked_argc; i++) asked[i] = i < argc ? argv[i] : empty;
    const char *text = RedisModule_StringPtrLen(argv[0], NULL);
    users_verdict verdict = users_may_run(ctx, name, text, asked + 1, (size_t)asked_argc - 1);
    RedisModule_Free(asked);
    RedisModule_FreeString(NULL, empty);
    RedisModule_FreeString(ctx, name);
    return verdict;
}

static int take_over(RedisModuleCtx *ctx, const hooked_command *command, registration *r, RedisModuleString **argv,
                     int argc) {
    int flags = RedisModule_GetContextFlags(ctx);
    bool denied = job_flags_deny_blocking(flags);
    if (denied && r->mode != MODE_SYNC) return RedisModule_ReplyWithError(ctx, NOT_HERE);
    users_verdict verdict = may_run(ctx, command, argv, argc);
    if (verdict == USERS_MAY_NOT) return RedisModule_ReplyWithError(ctx, USERS_NO_PERMISSION);
    if (verdict == USERS_RUNNING_FAILS) return hooks_give(ctx, hooks_run_as_client(ctx, argv, argc, command->writes));
    stats.taken_over++;
    job_request request = {
        .role = WORKER_FUNCTIONS,
        .kind = JOB_HOOKED,
        .db = RedisModule_GetSelectedDb(ctx),
        .sync = denied, /* else the client waits, and the worker begins an atomic section where the mode is sync */
    };
    frame_init(&request.body);
    frame_add_number(&request.body, request.db);
    job_flags_add(&request.body, flags, denied, false, 0);
    frame_add(&request.body, r->id.data, r->id.len);
    forward_add_arguments(&request.body, argv, argc);
    return forward_job(ctx, &request, NOT_HERE);
}

/* register(commands=...): the functions run for the events that the command fires. */

/* Before anything else, so that nobody sees what was written without what the function makes of it. Where nothing was
 * written the client waits, so that the function may await something. */
static bool runs_sync(const event *e, bool may_block) {
    return e->registration->mode == MODE_SYNC && !(e->is_miss && may_block);
}

/* Of a command that only reads and fired nothing: its key was there, and the command could read it. */
static bool is_hit(RedisModuleCallReply *reply) {
    size_t len = 0;
    const char *proto = RedisModule_CallReplyProto(reply, &len);
    bool null = len >= 2 && (proto[0] == '_' || (proto[1] == '-' && (proto[0] == '$' || proto[0] == '*')));
    return len > 0 && proto[0] != '-' && !null;
}

static bool has_miss(const event_list *fired) {
    const event *e = fired->first;
    while (e && !e->is_miss) e = e->next;
    return e != NULL;
}

static int answer_with_functions(RedisModuleCtx *ctx, RedisModuleCallReply *reply, event_list *fired,
                                 RedisModuleString **argv, int argc) {
    int flags = RedisModule_GetContextFlags(ctx);
    slice plain = {NULL, 0};
    plain.data = RedisModule_CallReplyProto(reply, &plain.len);
    bool may_block = !job_flags_deny_blocking(flags);
    miss *m = miss_new(argv, argc, flags, plain, fired->first != fired->last, has_miss(fired));
    for (event *e = fired->first; e; e = e->next) {
        if (runs_sync(e, may_block) && !e->registration->removed) miss_run_sync(ctx, m, e);
    }
    for (event *e = fired->first; e; e = e->next) {
        if (runs_sync(e, may_block)) continue;
        if (may_block) {
            miss_start(m, e);
        } else {
            event_submit_unwatched(e, flags);
        }
    }
    while (fired->first) {
        event *e = fired->first;
        fired->first = e->next;
        event_free(e);
    }
    int result = miss_answer(ctx, m);
    RedisModule_FreeCallReply(reply);
    return result;
}

static bool is_from_master(RedisModuleCtx *ctx) {
    return role_is_replica() && (RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_REPLICATED);
}

static int run_hooked(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, bool writes) {
    if (is_from_master(ctx)) return hooks_give(ctx, run(ctx, "!0Ev", argv, argc));

    size_t name_len;
    const char *name = RedisModule_StringPtrLen(argv[0], &name_len);
    const hooked_command *command = hooked_commands_find(name, name_len);
    if (!command) return hooks_give(ctx, hooks_run_as_client(ctx, argv, argc, writes)); /* unregistered since it was queued */
    stats.commands++;
    registration *taker = find_taker(ctx, command, argv, argc);
    if (taker) return take_over(ctx, command, taker, argv, argc);

    char lower_name[REGISTRATION_MAX_NAME_BYTES]; /* of its own: the registration that lends it may go meanwhile */
    memcpy(lower_name, command->name.data, command->name.len);
    event_collector collector = {.command = {lower_name, command->name.len}};
    event_collector *previous = events_collect(&collector);
    RedisModuleCallReply *reply = hooks_run_as_client(ctx, argv, argc, writes);
    events_collect(previous);
    if (!collector.list.first || !reply) {
        stats.hits += !writes && reply && is_hit(reply);
        return hooks_give(ctx, reply);
    }
    return answer_with_functions(ctx, reply, &collector.list, argv, argc);
}

const char *hooks_of_call(slice name, bool by_command) {
    const hooked_command *command = hooked_commands_count ? hooked_commands_find(name.data, name.len) : NULL;
    for (size_t i = 0; command && command->known && i < command->registrations_count; i++) {
        if (command->registrations[i]->kind == REGISTRATION_HOOK && !by_command) continue;
        return command->writes ? HOOK_WRITE : HOOK_READ;
    }
    return NULL;
}

static int show_keys(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    int count = 0, *flags = NULL;
    int *positions = RedisModule_GetCommandKeysWithFlags(ctx, argv + 1, argc - 1, &count, &flags);
    for (int i = 0; positions && i < count; i++) RedisModule_KeyAtPosWithFlags(ctx, positions[i] + 1, flags[i]);
    RedisModule_Free(positions);
    RedisModule_Free(flags);
    return REDISMODULE_OK;
}

static bool is_hook(RedisModuleString *name) {
    slice text;
    text.data = RedisModule_StringPtrLen(name, &text.len);
    return slice_is_word(text, HOOK_READ) || slice_is_word(text, HOOK_WRITE);
}

static int hook_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, bool writes) {
    bool nested = argc >= 2 && is_hook(argv[1]); /* thousands of them would need all of the stack, for their keys alone */
    if (RedisModule_IsKeysPositionRequest(ctx)) return argc < 2 || nested ? REDISMODULE_OK : show_keys(ctx, argv, argc);
    if (argc < 2) return RedisModule_WrongArity(ctx);
    if (nested) return RedisModule_ReplyWithError(ctx, "ERR a hook runs no other hook");
    return run_hooked(ctx, argv + 1, argc - 1, writes);
}

/* KEYMISS.HOOK <command> [<argument> ...]: what the command, which writes nothing, answers, or a function instead. */
static int hook_read(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    return hook_command(ctx, argv, argc, false);
}

/* KEYMISS.HOOKW <command> [<argument> ...]: the same for a command that may write. */
static int hook_write(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    return hook_command(ctx, argv, argc, true);
}

static void write_info(RedisModuleInfoCtx *info) {
    RedisModule_InfoAddFieldULongLong(info, "hooked_calls", stats.commands);
    RedisModule_InfoAddFieldULongLong(info, "hooked_calls_taken_over", stats.taken_over);
    RedisModule_InfoAddFieldULongLong(info, "hits", stats.hits);
}

/* Where the server lets modules say so, who may read may be answered by functions, too. */
static void join_category(RedisModuleCtx *ctx, const char *command, const char *category) {
    if (!RedisModule_SetCommandACLCategories) return;
    RedisModule_SetCommandACLCategories(RedisModule_GetCommand(ctx, command), category);
}

int hooks_init(RedisModuleCtx *ctx) {
    hook_read_name = RedisModule_CreateString(NULL, HOOK_READ, strlen(HOOK_READ));
    hook_write_name = RedisModule_CreateString(NULL, HOOK_WRITE, strlen(HOOK_WRITE));
    if (RedisModule_CreateCommand(ctx, "keymiss.hook", hook_read, "readonly getkeys-api", 0, 0, 0) != REDISMODULE_OK ||
        RedisModule_CreateCommand(ctx, "keymiss.hookw", hook_write, "write getkeys-api", 0, 0, 0) != REDISMODULE_OK) {
        return REDISMODULE_ERR;
    }
    join_category(ctx, "keymiss.hook", "read");
    join_category(ctx, "keymiss.hookw", "write");
    misses_init();
    info_section("hooks", write_info);
    return REDISMODULE_OK;
}

int hooks_listen(RedisModuleCtx *ctx) {
    bool filters = RedisModule_RegisterCommandFilter(ctx, filter_command, REDISMODULE_CMDFILTER_NOSELF) != NULL;
    return filters ? REDISMODULE_OK : REDISMODULE_ERR;
}
