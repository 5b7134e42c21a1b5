/* reply.c: see reply.h.
 *
 * Who frees a waiter: waiter_finish, which its owner calls exactly once, hands it to the blocked client, whose end frees
 * it (and the reply's argument) after the reply, or without one if the client left; or it answers the CALL and frees it.
 * A client that leaves earlier only makes the waiter's job end, and the owner then finishes as it always does. */
#include "reply.h"

#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "job_flags.h"
#include "memory.h"
#include "unit.h"

/* The server writes a simple string of a module in three pieces, and a reply that it gave to one in one piece: that shows
 * where tensors are set one after the other. NULL: it gave no such one, as where SELECT has another name. */
static RedisModuleCallReply *ok_of_server;

void reply_init(RedisModuleCtx *ctx) {
    static const slice ok = {"+OK\r\n", 5};
    slice given = {NULL, 0};
    ok_of_server = RedisModule_Call(ctx, "SELECT", "c", "0");
    if (!ok_of_server) return;
    given.data = RedisModule_CallReplyProto(ok_of_server, &given.len);
    if (given.len == ok.len && memcmp(given.data, ok.data, ok.len) == 0) return;
    RedisModule_FreeCallReply(ok_of_server);
    ok_of_server = NULL;
}

int reply_ok(RedisModuleCtx *ctx) {
    if (ok_of_server) return RedisModule_ReplyWithCallReply(ctx, ok_of_server);
    return RedisModule_ReplyWithSimpleString(ctx, "OK");
}

static int reply_with_line(RedisModuleCtx *ctx, const char *line, size_t len, bool error) {
    char on_stack[256];
    char *text = len < sizeof(on_stack) ? on_stack : memory.alloc(len + 1);
    for (size_t i = 0; i < len; i++) text[i] = line[i] ? line[i] : ' '; /* the server's replies are C strings */
    text[len] = 0;
    if (error) RedisModule_ReplyWithError(ctx, text);
    else RedisModule_ReplyWithSimpleString(ctx, text);
    if (text != on_stack) memory.free(text);
    return REDISMODULE_OK;
}

/* Replies with the value at `data`, which is known to be well-formed; RESP3 comes only from the server itself. Returns its
 * length. */
static size_t reply_with_value(RedisModuleCtx *ctx, const char *data, size_t len) {
    const char *end = memchr(data, '\r', len);
    size_t line = (size_t)(end - data) + 2;
    long long n = 0, elements;
    if (!strchr("+-_#,(", data[0])) slice_number((slice){data + 1, line - 3}, &n);
    elements = n;
    switch (data[0]) {
    case '+':
    case '-': reply_with_line(ctx, data + 1, line - 3, data[0] == '-'); return line;
    case ':': RedisModule_ReplyWithLongLong(ctx, n); return line;
    case '$':
        if (n < 0) {
            RedisModule_ReplyWithNull(ctx);
            return line;
        }
        RedisModule_ReplyWithStringBuffer(ctx, data + line, (size_t)n);
        return line + (size_t)n + 2;
    case '_': RedisModule_ReplyWithNull(ctx); return line;
    case '#': RedisModule_ReplyWithBool(ctx, data[1] == 't'); return line;
    case ',': RedisModule_ReplyWithDouble(ctx, strtod(data + 1, NULL)); return line;
    case '(': RedisModule_ReplyWithBigNumber(ctx, data + 1, line - 3); return line;
    case '=': /* its first four bytes say what it is: "txt:" */
        RedisModule_ReplyWithVerbatimStringType(ctx, data + line + 4, (size_t)n - 4, data + line);
        return line + (size_t)n + 2;
    case '%':
        RedisModule_ReplyWithMap(ctx, (long)n);
        elements = 2 * n;
        break;
    case '~': RedisModule_ReplyWithSet(ctx, (long)n); break;
    default:
        if (n < 0) {
            RedisModule_ReplyWithNullArray(ctx);
            return line;
        }
        RedisModule_ReplyWithArray(ctx, (long)n);
    }
    for (long long i = 0; i < elements; i++) line += reply_with_value(ctx, data + line, len - line);
    return line;
}

int reply_with_resp(RedisModuleCtx *ctx, slice value) {
    if (value.len == 0 || resp_value_length(value.data, value.len) != value.len) {
        return RedisModule_ReplyWithError(ctx, "ERR the worker gave a malformed reply");
    }
    reply_with_value(ctx, value.data, value.len);
    return REDISMODULE_OK;
}

int reply_with_server_value(RedisModuleCtx *ctx, slice value) {
    reply_with_value(ctx, value.data, value.len);
    return REDISMODULE_OK;
}

struct waiter {
    RedisModuleBlockedClient *client; /* NULL: a CALL waits */
    asker call;
    job_id job; /* 0: not known yet */
    waiter_reply reply;
    void *arg;
    void (*free_arg)(void *);
    struct waiter *chain; /* in its bucket */
};

/* By blocked client, since Redis 7.0 tells no more of a client that left. */
enum { BUCKETS = 4096 };
static waiter *blocked[BUCKETS];

static waiter **bucket_of(const RedisModuleBlockedClient *client) {
    return &blocked[((uintptr_t)client >> 5) % BUCKETS];
}

static void blocked_remove(waiter *w) {
    waiter **link = bucket_of(w->client);
    while (*link != w) link = &(*link)->chain;
    *link = w->chain;
}

static void on_disconnect(RedisModuleCtx *ctx, RedisModuleBlockedClient *client) {
    (void)ctx;
    waiter *w = *bucket_of(client);
    while (w && w->client != client) w = w->chain;
    if (w && w->job) job_abandon(w->job);
}

static void waiter_free(waiter *w) {
    if (w->free_arg) w->free_arg(w->arg);
    memory.free(w);
}

static int on_unblocked(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    (void)argv;
    (void)argc;
    waiter *w = RedisModule_GetBlockedClientPrivateData(ctx);
    return w->reply(ctx, w->arg);
}

static void on_free(RedisModuleCtx *ctx, void *privdata) {
    (void)ctx;
    waiter_free(privdata);
}

/* A CALL of the functions worker itself, not what a script inside it runs. */
static bool is_call(int flags, asker *call) {
    return !(flags & (REDISMODULE_CTX_FLAGS_LUA | REDISMODULE_CTX_FLAGS_MULTI)) && calls_current(call);
}

bool waiter_possible(RedisModuleCtx *ctx) {
    asker call;
    int flags = RedisModule_GetContextFlags(ctx);
    return is_call(flags, &call) || !job_flags_deny_blocking(flags);
}

waiter *waiter_new(RedisModuleCtx *ctx, const char *refusal) {
    int flags = RedisModule_GetContextFlags(ctx);
    waiter *w = memory.alloc(sizeof(*w));
    *w = (waiter){0};
    if (is_call(flags, &w->call)) {
        calls_defer();
        return w;
    }
    if (job_flags_deny_blocking(flags)) {
        memory.free(w);
        RedisModule_ReplyWithError(ctx, refusal);
        return NULL;
    }
    w->client = RedisModule_BlockClient(ctx, on_unblocked, NULL, on_free, 0);
    RedisModule_SetDisconnectCallback(w->client, on_disconnect);
    RedisModule_BlockedClientMeasureTimeStart(w->client);
    w->chain = *bucket_of(w->client);
    *bucket_of(w->client) = w;
    return w;
}

void waiter_set_job(waiter *w, unsigned long long job) {
    w->job = job;
}

/* The reply to a CALL: run a command of our own whose only work is to write it, and take what it wrote. */
static waiter *answering;

int waiter_answer_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    (void)argv;
    (void)argc;
    waiter *w = answering;
    answering = NULL;
    if (!w) return RedisModule_ReplyWithError(ctx, "ERR this command is Keymiss's own");
    return w->reply(ctx, w->arg);
}

static void answer_call(RedisModuleCtx *ctx, void *arg) {
    waiter *w = arg;
    size_t len = 0;
    answering = w;
    RedisModuleCallReply *reply = RedisModule_Call(ctx, WAITER_ANSWER_COMMAND, "E");
    answering = NULL;
    const char *proto = reply ? RedisModule_CallReplyProto(reply, &len) : NULL;
    if (len > 0) asker_result(w->call, proto, len);
    else asker_result_error(w->call, "ERR the command gave no reply");
    if (reply) RedisModule_FreeCallReply(reply);
    waiter_free(w);
}

void waiter_finish(waiter *w, waiter_reply reply, void *arg, void (*free_arg)(void *)) {
    w->reply = reply;
    w->arg = arg;
    w->free_arg = free_arg;
    if (w->client) {
        blocked_remove(w);
        RedisModule_BlockedClientMeasureTimeEnd(w->client);
        RedisModule_UnblockClient(w->client, w);
    } else if (unit_context()) {
        answer_call(unit_context(), w);
    } else {
        unit_add(answer_call, w);
    }
}

typedef struct text {
    size_t len;
    char data[];
} text;

static text *text_copy(const char *data, size_t len) {
    text *t = memory.alloc(sizeof(*t) + len + 1);
    t->len = len;
    if (len) memcpy(t->data, data, len);
    t->data[len] = 0;
    return t;
}

static int reply_resp_text(RedisModuleCtx *ctx, void *arg) {
    const text *t = arg;
    return reply_with_resp(ctx, (slice){t->data, t->len});
}

static int reply_error_text(RedisModuleCtx *ctx, void *arg) {
    return RedisModule_ReplyWithError(ctx, ((text *)arg)->data);
}

void waiter_finish_resp(waiter *w, const char *value, size_t len) {
    waiter_finish(w, reply_resp_text, text_copy(value, len), memory.free);
}

void waiter_finish_error(waiter *w, const char *error) {
    waiter_finish(w, reply_error_text, text_copy(error, strlen(error)), memory.free);
}
