/* ai_script.c: AI.SCRIPTSTORE, AI.SCRIPTSET, AI.SCRIPTGET, AI.SCRIPTDEL and AI._SCRIPTSCAN. */
#include "ai.h"
#include "ai_command.h"
#include "ai_store.h"
#include "ai_values.h"
#include "script_type.h"

static const char *new_script_write(void *value, frame_writer *body) {
    script_to_wire(value, body);
    return NULL;
}

static bool new_script_read(void *value, const frame *done) {
    (void)value;
    return done->count == 1;
}

static void new_script_store(RedisModuleCtx *ctx, RedisModuleString *key, void *value) {
    script_store_and_replicate(ctx, key, script_hold(value));
}

static void new_script_free(void *value) {
    script_release(value);
}

static const store_kind SCRIPT_STORE = {JOB_COMPILE,     NULL,             new_script_write, script_check_key,
                                        new_script_read, new_script_store, new_script_free};

static int store(RedisModuleCtx *ctx, RedisModuleString *key, const script_args *parsed) {
    script *s = script_new(parsed);
    if (ai_command_from(ctx) == ARGS_FROM_SERVER) {
        script_store_and_replicate(ctx, key, s);
        return RedisModule_ReplyWithSimpleString(ctx, "OK");
    }
    return ai_store(ctx, &SCRIPT_STORE, key, s, false);
}

/* Both commands. */
static int parse_and_store(RedisModuleCtx *ctx, RedisModuleString **argv, int argc,
                           const char *(*parse)(const slice *argv, size_t argc, script_args *out)) {
    ai_arguments args;
    script_args parsed;
    const char *error;
    ai_arguments_open(&args, argv, argc);
    error = parse(args.all, args.count, &parsed);
    if (error == NULL) error = script_check_key(ctx, argv[1]);
    int status = error != NULL ? ai_reply_error(ctx, error) : store(ctx, argv[1], &parsed);
    ai_arguments_close(&args);
    return status;
}

/* AI.SCRIPTSTORE key device [TAG tag] ENTRY_POINTS n name ... SOURCE source: OK once the models worker has compiled it; its
 * error, and nothing stored, if it cannot. */
int ai_scriptstore(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    return parse_and_store(ctx, argv, argc, parse_scriptstore);
}

/* AI.SCRIPTSET key device [TAG tag] SOURCE source: the older form: every function may be run. It is replicated as
 * AI.SCRIPTSTORE. */
int ai_scriptset(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    return parse_and_store(ctx, argv, argc, parse_scriptset);
}

static void reply_slice(RedisModuleCtx *ctx, slice s) {
    RedisModule_ReplyWithStringBuffer(ctx, s.data, s.len);
}

static void reply_meta(RedisModuleCtx *ctx, const script *s) {
    RedisModule_ReplyWithCString(ctx, "device");
    reply_slice(ctx, script_device(s));
    RedisModule_ReplyWithCString(ctx, "tag");
    reply_slice(ctx, script_tag(s));
    RedisModule_ReplyWithCString(ctx, "Entry Points");
    RedisModule_ReplyWithArray(ctx, (long)s->entry_points.count);
    for (size_t i = 0; i < s->entry_points.count; i++) reply_slice(ctx, s->entry_points.items[i]);
}

/* AI.SCRIPTGET key [META] [SOURCE]: names and values; with SOURCE, the source at the end or, without META, alone. Nothing
 * asked for is META SOURCE; other words are ignored. */
int ai_scriptget(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    bool meta = false, source = false;
    const char *error;
    if (argc < 2 || argc > 4) return RedisModule_WrongArity(ctx);
    const script *s = script_at(ctx, argv[1], &error);
    if (s == NULL) return RedisModule_ReplyWithError(ctx, error);
    for (int i = 2; i < argc; i++) {
        meta = meta || slice_is_word(ai_slice(argv[i]), "META");
        source = source || slice_is_word(ai_slice(argv[i]), "SOURCE");
    }
    if (!meta && !source) meta = source = true;

    if (meta) {
        RedisModule_ReplyWithArray(ctx, source ? 8 : 6);
        reply_meta(ctx, s);
        if (source) RedisModule_ReplyWithCString(ctx, "source");
    }
    if (source) reply_slice(ctx, script_source(s));
    return REDISMODULE_OK;
}

/* AI.SCRIPTDEL key: OK. Runs that have begun go on. */
int ai_scriptdel(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    return ai_values_delete(ctx, argv, argc, &stored_scripts);
}

static slice tag_of(const void *value) {
    return script_tag(value);
}

/* AI._SCRIPTSCAN: [key, tag] of every script of all databases, in no order. */
int ai_scriptscan(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    (void)argv;
    return ai_values_scan(ctx, argc, &stored_scripts, tag_of);
}
