/* hello.c: see hello.h. */
#include "hello.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "redis_api.h"
#include "role.h"
#include "settings.h"
#include "unit.h"

static void add_pair(void *f, const char *name, const char *value) {
    frame_add_text(f, name);
    frame_add_text(f, value);
}

static void add_server_field(frame_writer *f, const char *name, RedisModuleServerInfoData *info, const char *field) {
    const char *value = RedisModule_ServerInfoGetFieldC(info, field);
    add_pair(f, name, value ? value : "");
}

void hello_write(frame_writer *f, const char *role) {
    static const char no_node[] = "0000000000000000000000000000000000000000";
    RedisModuleCtx *ctx = unit_server_context();
    RedisModuleServerInfoData *info = RedisModule_GetServerInfo(ctx, "server");
    bool cluster = RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_CLUSTER;
    bool valkey = RedisModule_ServerInfoGetFieldC(info, "valkey_version") != NULL;
    const char *node = cluster ? RedisModule_GetMyClusterID() : NULL;
    char dir[PATH_MAX];

    frame_init(f);
    frame_add_text(f, "HELLO");
    frame_add_number(f, HELLO_VERSION);
    add_pair(f, "role", role);
    frame_add_text(f, "node");
    frame_add(f, node ? node : no_node, REDISMODULE_NODE_ID_LEN);
    add_server_field(f, "run_id", info, "run_id");
    add_pair(f, "cluster", cluster ? "1" : "0");
    add_pair(f, "server", valkey ? "valkey" : "redis");
    add_server_field(f, "server_version", info, valkey ? "valkey_version" : "redis_version");
    frame_add_text(f, "pid");
    frame_add_number(f, getpid());
    add_server_field(f, "port", info, "tcp_port");
    add_pair(f, "dir", getcwd(dir, sizeof(dir)) ? dir : "."); /* the server runs in its data directory */
    add_pair(f, "replica", role_is_replica() ? "1" : "0");
    settings_each(add_pair, f);
    RedisModule_FreeServerInfo(ctx, info);
}
