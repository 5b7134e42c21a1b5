/* reply.h: give a RESP2 value made by a worker to a client, in the protocol that the client speaks. */
#ifndef KEYMISS_REPLY_H
#define KEYMISS_REPLY_H

#include "redis_api.h"
#include "resp.h"

/* Replies with the one value in `value`; a malformed value becomes an error. Returns REDISMODULE_OK. */
int reply_with_resp(RedisModuleCtx *ctx, slice value);

/* The same for a value that this server wrote (CallReplyProto), which may be RESP3. */
int reply_with_server_value(RedisModuleCtx *ctx, slice value);

void reply_init(RedisModuleCtx *ctx);

/* Replies with OK, as the server's own commands do: in one piece. Returns REDISMODULE_OK. */
int reply_ok(RedisModuleCtx *ctx);

/* Every command that waits for a worker holds one of these: a blocked client, or a CALL of the functions worker (answered by
 * RESULT). See reply.c for who frees what. */
typedef struct waiter waiter;

typedef int (*waiter_reply)(RedisModuleCtx *ctx, void *arg); /* writes the reply; run once or, if the client left, not at all */

/* Block the caller of the current command. Returns NULL, after replying with `refusal`, where it may not block (MULTI,
 * script, a client that denies it) and is no CALL of our own worker. */
waiter *waiter_new(RedisModuleCtx *ctx, const char *refusal);
/* Would waiter_new give one? */
bool waiter_possible(RedisModuleCtx *ctx);
/* The job this waiter stands for: cancelled if the client leaves. */
void waiter_set_job(waiter *w, unsigned long long job);
/* End the wait. reply(ctx, arg) writes the answer, free_arg(arg) follows in every case. Or one of the two short forms. */
void waiter_finish(waiter *w, waiter_reply reply, void *arg, void (*free_arg)(void *));
void waiter_finish_resp(waiter *w, const char *value, size_t len); /* copies */
void waiter_finish_error(waiter *w, const char *error);            /* copies */

/* For module.c: the command with which the reply to a CALL is captured. It refuses anyone else. */
#define WAITER_ANSWER_COMMAND "keymiss._answer"
int waiter_answer_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);

#endif
