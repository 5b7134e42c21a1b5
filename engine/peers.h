/* peers.h: what the functions workers of a cluster's shards tell each other, over the cluster's own bus (SEND, PEER). */
#ifndef KEYMISS_PEERS_H
#define KEYMISS_PEERS_H

#include "redis_api.h"

int peers_init(RedisModuleCtx *ctx);

#endif
