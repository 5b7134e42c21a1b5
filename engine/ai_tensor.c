/* ai_tensor.c: AI.TENSORSET and AI.TENSORGET. */
#include <math.h>
#include <stdio.h>

#include "ai.h"
#include "ai_command.h"
#include "reply.h"
#include "tensor_type.h"
#include "typed_key.h"

/* AI.TENSORSET key type shape ... [BLOB blob | VALUES value ...]: OK. Without data, zeroes or empty strings. */
int ai_tensorset(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    ai_arguments args;
    tensor *t;
    const char *error = NULL;
    if (argc < 4) return RedisModule_WrongArity(ctx);
    RedisModuleKey *key = tensor_open(ctx, argv[1], &error);
    if (key == NULL) return RedisModule_ReplyWithError(ctx, error);

    ai_arguments_open(&args, argv, argc);
    tensor *old = tensor_in_place(key);
    t = parse_tensorset(args.all, args.count, ai_tensors_from(), old, &error);
    if (t == NULL && ai_command_from(ctx) == ARGS_FROM_SERVER) /* to ask costs more than most tensors do to read */
        t = parse_tensorset(args.all, args.count, ARGS_FROM_SERVER, old, &error);
    ai_arguments_close(&args);
    if (t == NULL) {
        RedisModule_CloseKey(key);
        return ai_reply_error(ctx, error);
    }

    if (t == old) typed_key_close_changed(ctx, key, argv[1]);
    else tensor_put(ctx, key, argv[1], t);
    RedisModule_ReplicateVerbatim(ctx);
    return reply_ok(ctx);
}

/* A number as clients of the original know it, the same on every server (newer ones print doubles in another way). */
static void reply_real(RedisModuleCtx *ctx, double value, bool resp3) {
    char text[64];
    if (resp3) {
        RedisModule_ReplyWithDouble(ctx, value);
        return;
    }
    int len = isnan(value) ? snprintf(text, sizeof text, "nan") : snprintf(text, sizeof text, "%.17g", value);
    RedisModule_ReplyWithStringBuffer(ctx, text, (size_t)len);
}

static void reply_values(RedisModuleCtx *ctx, const tensor *t) {
    bool resp3 = RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_RESP3;
    size_t at = 0;
    RedisModule_ReplyWithArray(ctx, (long)t->elements);
    for (size_t i = 0; i < t->elements; i++) {
        if (t->dtype == DTYPE_STRING) {
            slice s = tensor_next_string(t, &at);
            RedisModule_ReplyWithStringBuffer(ctx, s.data, s.len);
        } else if (tensor_is_real(t)) {
            reply_real(ctx, tensor_real_at(t, i), resp3);
        } else {
            RedisModule_ReplyWithLongLong(ctx, tensor_integer_at(t, i));
        }
    }
}

static void reply_meta(RedisModuleCtx *ctx, const tensor *t) {
    RedisModule_ReplyWithCString(ctx, "dtype");
    RedisModule_ReplyWithCString(ctx, tensor_dtype_name(t->dtype));
    RedisModule_ReplyWithCString(ctx, "shape");
    RedisModule_ReplyWithArray(ctx, t->dims);
    for (unsigned i = 0; i < t->dims; i++) RedisModule_ReplyWithLongLong(ctx, t->shape[i]);
}

void ai_reply_tensor(RedisModuleCtx *ctx, const tensor *t, const tensorget_args *parts) {
    if (parts->meta) {
        RedisModule_ReplyWithArray(ctx, parts->blob || parts->values ? 6 : 4);
        reply_meta(ctx, t);
        if (parts->blob) RedisModule_ReplyWithCString(ctx, "blob");
        if (parts->values) RedisModule_ReplyWithCString(ctx, "values");
    }
    if (parts->blob) RedisModule_ReplyWithStringBuffer(ctx, t->data, t->size);
    if (parts->values) reply_values(ctx, t);
}

/* AI.TENSORGET key [META] [BLOB | VALUES]: with META dtype and shape as an array of names and values, in it or,
 * without META, alone the data: one bulk string, or an array of numbers or strings. Nothing asked for is META BLOB. */
int ai_tensorget(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    ai_arguments args;
    tensorget_args parts;
    const char *error = NULL;
    if (argc < 2) return RedisModule_WrongArity(ctx);
    const tensor *t = tensor_at(ctx, argv[1], &error);
    if (t == NULL) return RedisModule_ReplyWithError(ctx, error);

    ai_arguments_open(&args, argv, argc);
    error = parse_tensorget(args.all, args.count, &parts);
    ai_arguments_close(&args);
    if (error != NULL) return ai_reply_error(ctx, error);

    ai_reply_tensor(ctx, t, &parts);
    return REDISMODULE_OK;
}
