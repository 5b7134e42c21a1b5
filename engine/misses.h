/* misses.h: a command's client that waits for the functions which the command fired, and who wins. */
#ifndef KEYMISS_MISSES_H
#define KEYMISS_MISSES_H

#include "events.h"

typedef struct miss miss;

void misses_init(void);

/* Of a command (argv: the client's own) that replied `plain`, a RESP value of the client's protocol. several: it fired more
 * than one event. missed: its key was not there. */
miss *miss_new(RedisModuleString **argv, int argc, int context_flags, slice plain, bool several, bool missed);

/* Run a synchronous registration now. */
void miss_run_sync(RedisModuleCtx *ctx, miss *m, const event *e);
/* Start an asynchronous one: joined to one in flight where the registration asks for that. */
void miss_start(miss *m, const event *e);

/* Answer: the first override that came, else the first failure, else the plain reply. If some were started, the client is blocked
 * until all have ended. Takes m over. */
int miss_answer(RedisModuleCtx *ctx, miss *m);

#endif
