/* hooks.h: commands that go through functions: KEYMISS.HOOK and KEYMISS.HOOKW stand in for them. */
#ifndef KEYMISS_HOOKS_H
#define KEYMISS_HOOKS_H

#include "redis_api.h"
#include "resp.h"

int hooks_init(RedisModuleCtx *ctx);
int hooks_listen(RedisModuleCtx *ctx); /* to commands */

/* The hook command to put in front of a command (in any case) that a function calls, where registrations with
 * commands= name it, or those with hook=, which concern what RG.PYEXECUTE itself runs (`by_command`); else NULL. */
const char *hooks_of_call(slice command, bool by_command);

/* GET and its like as the client that sent the present command: with its rights, the filter off. give: as its reply, which
 * is freed; one that says that the user may not do it in the words of the server. */
RedisModuleCallReply *hooks_run_as_client(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, bool writes);
int hooks_give(RedisModuleCtx *ctx, RedisModuleCallReply *reply);

#endif
