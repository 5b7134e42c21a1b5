/* ai_command.h: what the handlers of AI.* commands share. */
#ifndef KEYMISS_AI_COMMAND_H
#define KEYMISS_AI_COMMAND_H

#include "ai_args.h"
#include "redis_api.h"

/* The arguments of a command as slices, for the parsers of ai_args.h. Close what was opened. */
typedef struct ai_arguments {
    slice *all;
    size_t count;
    slice few[32]; /* what most commands need, without the heap */
} ai_arguments;
void ai_arguments_open(ai_arguments *args, RedisModuleString **argv, int argc);
void ai_arguments_close(ai_arguments *args);

slice ai_slice(const RedisModuleString *s);

/* The command comes from the master or from the append-only file, not from a user. */
args_from ai_command_from(RedisModuleCtx *ctx);
/* What may be said of tensors in a command that does not: those of functions may be without elements, as a detector's are
 * that has found nothing. */
args_from ai_tensors_from(void);

/* NULL, or why nothing may be written here: a read-only replica. For commands that a function calls, which the
 * server lets pass. */
const char *ai_refuse_writes(RedisModuleCtx *ctx);
/* For a write that was put off: the same, or the key's slot is another shard's by now. ctx is in the key's database. */
const char *ai_refuse_write_to(RedisModuleCtx *ctx, RedisModuleString *key);

/* Keys at so many positions of the command, for a server that asks which it has. */
enum {
    AI_KEY_READ = REDISMODULE_CMD_KEY_RO | REDISMODULE_CMD_KEY_ACCESS,
    AI_KEY_STORED = REDISMODULE_CMD_KEY_OW | REDISMODULE_CMD_KEY_UPDATE,
    AI_KEY_ANY_USE = REDISMODULE_CMD_KEY_RW | REDISMODULE_CMD_KEY_ACCESS | REDISMODULE_CMD_KEY_UPDATE
};
void ai_tell_keys(RedisModuleCtx *ctx, size_t first, size_t count, int flags);

/* Replies with a parser's error (ARGS_WRONG_ARITY as the server says it). Returns REDISMODULE_OK. */
int ai_reply_error(RedisModuleCtx *ctx, const char *error);
/* The same with a client's own bytes after the text, made fit for one line. */
int ai_reply_error_about(RedisModuleCtx *ctx, const char *error, slice about);

/* What AI.TENSORGET answers. ai_tensor.c */
void ai_reply_tensor(RedisModuleCtx *ctx, const tensor *t, const tensorget_args *parts);

#endif
