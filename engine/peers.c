/* peers.c
 *
 * A message of the bus is kept short, because the server's own messages (who is alive?) share the line with it: a payload goes
 * out in chunks, each with a header, and is put together again at the other end.
 *
 * 1. The bus keeps the order of messages, but may lose some with a connection. A chunk that is not the expected next one
 *    ends its payload; one that waits too long for its next chunk is dropped.
 * 2. What can wait is bounded: payloads per node by keeping one, bytes by the size that a frame may have. Whole ones wait for
 *    our worker, if it has to be started, as what is sent to it does (keymiss.max-channel-bytes), and are lost if it cannot. */
#include "peers.h"

#include "calls.h"
#include "info.h"
#include "settings.h"
#include "unit.h"
#include "worker.h"

#include <string.h>

enum {
    MESSAGE_TYPE = 77,           /* ours among the modules' messages; any number does */
    CHUNK_BYTES = 256 * 1024,    /* milliseconds of line time */
    HEADER_BYTES = 24,           /* message number, whole length, offset: 64 bit each, little-endian */
    PATIENCE_MS = 10000,         /* between two chunks */
    LARGEST_PAYLOAD = 256 << 20, /* the bus has no flow control: more would only fill its buffers */
};

/* A payload of which some chunks came. */
typedef struct arrival {
    char node[REDISMODULE_NODE_ID_LEN];
    uint64_t number;
    char *data;
    size_t len, got;
    uint64_t last_us;
    struct arrival *next;
} arrival;

/* A payload for our worker, which may have to be started first. */
typedef struct delivery {
    char node[REDISMODULE_NODE_ID_LEN];
    char *data;
    size_t len;
    struct delivery *next;
} delivery;

enum { MOST_DELIVERIES = 1024 };

static uint64_t next_number;
static arrival *arrivals;
static delivery *deliveries, **deliveries_end = &deliveries;
static size_t deliveries_count, deliveries_bytes;

static struct {
    unsigned long long sent, received, lost;
} stats;

static void put_number(unsigned char *to, uint64_t value) {
    for (int i = 0; i < 8; i++) to[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get_number(const unsigned char *from) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value |= (uint64_t)from[i] << (8 * i);
    return value;
}

/* Sending. */

static const char *send_payload(RedisModuleCtx *ctx, slice node, slice payload) {
    char id[REDISMODULE_NODE_ID_LEN + 1];
    if (!(RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_CLUSTER)) return "ERR this shard is not part of a cluster";
    if (node.len != REDISMODULE_NODE_ID_LEN) return "ERR a node's id has 40 hex digits";
    if (payload.len > LARGEST_PAYLOAD) return "ERR the message is too long for the cluster bus";
    memcpy(id, node.data, node.len);
    id[node.len] = '\0';

    unsigned char *chunk = RedisModule_Alloc(HEADER_BYTES + CHUNK_BYTES);
    const char *error = NULL;
    size_t offset = 0;
    put_number(chunk, ++next_number);
    put_number(chunk + 8, payload.len);
    do {
        size_t n = payload.len - offset < CHUNK_BYTES ? payload.len - offset : CHUNK_BYTES;
        put_number(chunk + 16, offset);
        if (n) memcpy(chunk + HEADER_BYTES, payload.data + offset, n);
        if (RedisModule_SendClusterMessage(ctx, id, MESSAGE_TYPE, (const char *)chunk, (uint32_t)(HEADER_BYTES + n)) !=
            REDISMODULE_OK) {
            error = "ERR it is not connected";
        }
        offset += n;
    } while (!error && offset < payload.len);
    RedisModule_Free(chunk);
    if (!error) stats.sent++;
    return error;
}

static void on_send(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    asker from;
    if (!asker_read(role, f->parts[1], &from)) return;
    const char *error = send_payload(ctx, f->parts[2], f->parts[3]);
    if (error) {
        asker_result_error(from, error);
    } else {
        asker_result_ok(from);
    }
}

/* Receiving. */

static bool hand_over(const delivery *d) {
    frame_writer f;
    frame_init(&f);
    frame_add_text(&f, "PEER");
    frame_add(&f, d->node, sizeof d->node);
    frame_add(&f, d->data, d->len);
    bool sent = worker_send(WORKER_FUNCTIONS, &f);
    frame_free(&f);
    return sent;
}

static void forget_first(void) {
    delivery *d = deliveries;
    deliveries = d->next;
    if (!deliveries) deliveries_end = &deliveries;
    deliveries_count--;
    deliveries_bytes -= d->len;
    RedisModule_Free(d->data);
    RedisModule_Free(d);
}

static void hand_over_all(RedisModuleCtx *ctx, worker_role role) {
    (void)ctx;
    (void)role;
    for (; deliveries; forget_first()) {
        if (hand_over(deliveries)) {
            stats.received++;
        } else {
            stats.lost++;
        }
    }
}

static void lose_all(RedisModuleCtx *ctx, worker_role role) {
    (void)ctx;
    (void)role;
    for (; deliveries; forget_first()) stats.lost++;
}

static bool is_room_for(size_t len) {
    if (deliveries_count == 0) return true;
    return deliveries_count < MOST_DELIVERIES && deliveries_bytes + len <= (size_t)settings.max_channel_bytes;
}

/* Takes data over. */
static void deliver(const char *node, char *data, size_t len) {
    if (!is_room_for(len)) {
        stats.lost++;
        RedisModule_Free(data);
        return;
    }
    delivery *d = RedisModule_Calloc(1, sizeof *d);
    memcpy(d->node, node, sizeof d->node);
    d->data = data;
    d->len = len;
    *deliveries_end = d;
    deliveries_end = &d->next;
    deliveries_count++;
    deliveries_bytes += len;
    if (worker_ready(WORKER_FUNCTIONS)) {
        hand_over_all(NULL, WORKER_FUNCTIONS);
    } else {
        worker_need(WORKER_FUNCTIONS);
    }
}

static void drop(arrival **link) {
    arrival *a = *link;
    *link = a->next;
    RedisModule_Free(a->data);
    RedisModule_Free(a);
}

/* The payload of this node that is coming in, after dropping those of any node that were given up. */
static arrival **find_arrival(const char *node) {
    uint64_t now = RedisModule_MonotonicMicroseconds();
    arrival **link = &arrivals, **found = NULL;
    while (*link) {
        if (now - (*link)->last_us > PATIENCE_MS * 1000ull) {
            stats.lost++;
            drop(link);
            continue;
        }
        if (memcmp((*link)->node, node, sizeof(*link)->node) == 0) found = link;
        link = &(*link)->next;
    }
    return found;
}

static arrival *begin_arrival(const char *node, uint64_t number, size_t len) {
    char *data = RedisModule_TryAlloc(len ? len : 1);
    if (!data) return NULL;
    arrival *a = RedisModule_Calloc(1, sizeof *a);
    memcpy(a->node, node, sizeof a->node);
    a->number = number;
    a->data = data;
    a->len = len;
    a->next = arrivals;
    arrivals = a;
    return a;
}

static void on_message(RedisModuleCtx *ctx, const char *node, uint8_t type, const unsigned char *message, uint32_t size) {
    (void)ctx;
    (void)type;
    if (size < HEADER_BYTES) return;
    uint64_t number = get_number(message), len = get_number(message + 8), offset = get_number(message + 16);
    size_t n = size - HEADER_BYTES;
    if (len > LARGEST_PAYLOAD || n > len || offset > len - n) return;

    arrival **link = find_arrival(node);
    if (link && (offset == 0 || (*link)->number != number || (*link)->got != offset || (*link)->len != len)) {
        stats.lost++;
        drop(link);
        link = NULL;
    }
    arrival *a = link ? *link : NULL;
    if (!a && offset == 0) a = begin_arrival(node, number, len);
    if (!a) return;
    if (n) memcpy(a->data + offset, message + HEADER_BYTES, n);
    a->got += n;
    a->last_us = RedisModule_MonotonicMicroseconds();
    if (a->got < a->len) return;

    link = find_arrival(node);
    char *data = a->data;
    a->data = NULL;
    drop(link);
    deliver(node, data, (size_t)len);
}

static void write_info(RedisModuleInfoCtx *info) {
    RedisModule_InfoAddFieldULongLong(info, "peer_messages_sent", stats.sent);
    RedisModule_InfoAddFieldULongLong(info, "peer_messages_received", stats.received);
    RedisModule_InfoAddFieldULongLong(info, "peer_messages_lost", stats.lost);
}

int peers_init(RedisModuleCtx *ctx) {
    RedisModule_RegisterClusterMessageReceiver(ctx, MESSAGE_TYPE, on_message);
    worker_on_verb(WORKER_FUNCTIONS, "SEND", 4, on_send);
    worker_on_ready(WORKER_FUNCTIONS, hand_over_all);
    worker_on_unstartable(WORKER_FUNCTIONS, lose_all);
    info_section("peers", write_info);
    return REDISMODULE_OK;
}
