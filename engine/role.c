/* role.c: the server tells of each event one function of a module only, so that is here. */
#include "role.h"

#include <assert.h>

enum { LISTENERS_MAX = 4 };

static bool is_replica;
static role_listener listeners[LISTENERS_MAX];
static size_t listener_count;

bool role_is_replica(void) {
    return is_replica;
}

bool role_is_read_only_replica(int context_flags) {
    const int both = REDISMODULE_CTX_FLAGS_SLAVE | REDISMODULE_CTX_FLAGS_READONLY;
    return (context_flags & both) == both;
}

void role_on_change(role_listener listener) {
    assert(listener_count < LISTENERS_MAX);
    listeners[listener_count++] = listener;
}

static void on_role_changed(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t subevent, void *data) {
    (void)event;
    (void)data;
    is_replica = subevent == REDISMODULE_EVENT_REPLROLECHANGED_NOW_REPLICA;
    for (size_t i = 0; i < listener_count; i++) listeners[i](ctx, is_replica);
}

int role_init(RedisModuleCtx *ctx) {
    RedisModuleEvent event = {REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED, 1};
    is_replica = RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_SLAVE;
    return RedisModule_SubscribeToServerEvent(ctx, event, on_role_changed);
}
