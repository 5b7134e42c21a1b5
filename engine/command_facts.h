/* command_facts.h: what the server says of a command. */
#ifndef KEYMISS_COMMAND_FACTS_H
#define KEYMISS_COMMAND_FACTS_H

#include "redis_api.h"
#include "resp.h"

typedef struct command_facts {
    bool known, writes, blocks, denied_when_full, denied_to_scripts;
    int arity; /* as COMMAND tells it: the name counts; -n: n or more */
    bool may_propagate; /* it writes, or may reach replicas all the same: PUBLISH, a script */
} command_facts;

/* Of the command with these parts, its name first; of one with subcommands, those of the subcommand. */
command_facts command_facts_of(RedisModuleCtx *ctx, const slice *parts, size_t count);

#endif
