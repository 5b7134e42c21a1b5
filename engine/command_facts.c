#include "command_facts.h"

/* In the reply of COMMAND INFO. */
enum { ARITY_AT = 1, FLAGS_AT = 2, SUBCOMMANDS_AT = 9 };

static bool has_flag(RedisModuleCallReply *flags, const char *flag) {
    for (size_t i = 0; i < RedisModule_CallReplyLength(flags); i++) {
        size_t len;
        const char *text = RedisModule_CallReplyStringPtr(RedisModule_CallReplyArrayElement(flags, i), &len);
        if (text && len == strlen(flag) && memcmp(text, flag, len) == 0) return true;
    }
    return false;
}

/* Those that write nothing themselves; the server has a flag for them that it tells nobody. */
static bool propagates_without_writing(slice name) {
    static const char *const names[] = {"publish", "spublish", "pfcount", "eval", "evalsha", "fcall"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (slice_is_word(name, names[i])) return true;
    }
    return false;
}

/* About the command of this whole name, and whether it has subcommands. */
static command_facts ask(RedisModuleCtx *ctx, slice name, bool *has_subcommands) {
    command_facts found = {.known = false};
    *has_subcommands = false;
    RedisModuleCallReply *reply = RedisModule_Call(ctx, "COMMAND", "cb", "INFO", name.data, name.len);
    RedisModuleCallReply *one = reply ? RedisModule_CallReplyArrayElement(reply, 0) : NULL;
    if (one && RedisModule_CallReplyType(one) == REDISMODULE_REPLY_ARRAY) {
        RedisModuleCallReply *flags = RedisModule_CallReplyArrayElement(one, FLAGS_AT);
        RedisModuleCallReply *subcommands = RedisModule_CallReplyArrayElement(one, SUBCOMMANDS_AT);
        found.known = flags != NULL;
        found.arity = (int)RedisModule_CallReplyInteger(RedisModule_CallReplyArrayElement(one, ARITY_AT));
        found.writes = flags && has_flag(flags, "write");
        found.blocks = flags && has_flag(flags, "blocking");
        found.denied_when_full = flags && has_flag(flags, "denyoom");
        found.denied_to_scripts = flags && has_flag(flags, "noscript");
        found.may_propagate = found.writes || propagates_without_writing(name);
        *has_subcommands = subcommands && RedisModule_CallReplyLength(subcommands) > 0;
    }
    if (reply) RedisModule_FreeCallReply(reply);
    return found;
}

command_facts command_facts_of(RedisModuleCtx *ctx, const slice *parts, size_t count) {
    bool has_subcommands;
    command_facts found = ask(ctx, parts[0], &has_subcommands);
    if (!has_subcommands || count < 2) return found;
    RedisModuleString *name = RedisModule_CreateStringPrintf(NULL, "%.*s|%.*s", (int)parts[0].len, parts[0].data,
                                                             (int)parts[1].len, parts[1].data);
    slice whole;
    whole.data = RedisModule_StringPtrLen(name, &whole.len);
    found = ask(ctx, whole, &has_subcommands);
    RedisModule_FreeString(NULL, name);
    return found;
}
