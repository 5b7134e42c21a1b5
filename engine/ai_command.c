#include "ai_command.h"

#include <errno.h>
#include <stdio.h>

#include "calls.h"
#include "memory.h"
#include "role.h"

slice ai_slice(const RedisModuleString *s) {
    slice out;
    out.data = RedisModule_StringPtrLen(s, &out.len);
    return out;
}

void ai_arguments_open(ai_arguments *args, RedisModuleString **argv, int argc) {
    args->count = (size_t)argc;
    args->all = args->count <= sizeof args->few / sizeof *args->few ? args->few
                                                                    : memory.alloc(args->count * sizeof *args->all);
    for (size_t i = 0; i < args->count; i++) args->all[i] = ai_slice(argv[i]);
}

void ai_arguments_close(ai_arguments *args) {
    if (args->all != args->few) memory.free(args->all);
}

args_from ai_command_from(RedisModuleCtx *ctx) {
    int flags = RedisModule_GetContextFlags(ctx);
    return flags & (REDISMODULE_CTX_FLAGS_REPLICATED | REDISMODULE_CTX_FLAGS_LOADING) ? ARGS_FROM_SERVER
                                                                                      : ARGS_FROM_USER;
}

args_from ai_tensors_from(void) {
    return calls_of(WORKER_FUNCTIONS) ? ARGS_FROM_SERVER : ARGS_FROM_USER;
}

const char *ai_refuse_writes(RedisModuleCtx *ctx) {
    bool refused = role_is_read_only_replica(RedisModule_GetContextFlags(ctx));
    return refused ? "READONLY You can't write against a read only replica." : NULL;
}

const char *ai_refuse_write_to(RedisModuleCtx *ctx, RedisModuleString *key) {
    const char *error = ai_refuse_writes(ctx);
    if (error != NULL || !(RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_CLUSTER)) return error;
    /* The server tells whose a slot is only by refusing a command. This one looks at the key without touching it
     * and fires no event. */
    errno = 0;
    RedisModuleCallReply *reply = RedisModule_Call(ctx, "OBJECT", "cs", "ENCODING", key);
    if (reply != NULL) RedisModule_FreeCallReply(reply);
    /* TRYAGAIN: a client that knows clusters asks again, and is then sent where the key is. */
    return reply == NULL && errno == EPERM ? "TRYAGAIN the key was moved to another shard meanwhile" : NULL;
}

void ai_tell_keys(RedisModuleCtx *ctx, size_t first, size_t count, int flags) {
    for (size_t i = 0; i < count; i++) RedisModule_KeyAtPosWithFlags(ctx, (int)(first + i), flags);
}

int ai_reply_error(RedisModuleCtx *ctx, const char *error) {
    return error == ARGS_WRONG_ARITY ? RedisModule_WrongArity(ctx) : RedisModule_ReplyWithError(ctx, error);
}

int ai_reply_error_about(RedisModuleCtx *ctx, const char *error, slice about) {
    char text[256];
    size_t at = (size_t)snprintf(text, sizeof text, "%s", error);
    for (size_t i = 0; i < about.len && at + 1 < sizeof text; i++) {
        unsigned char c = (unsigned char)about.data[i];
        text[at++] = c < ' ' ? '?' : (char)c; /* a line end here would end the reply */
    }
    text[at] = '\0';
    return RedisModule_ReplyWithError(ctx, text);
}
