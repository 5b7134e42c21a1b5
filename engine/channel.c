/* channel.c: see channel.h for the rules. */
#include "channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memory.h"
#include "settings.h"
#include "unit.h"

enum {
    INBOX_BYTES = 64 * 1024,       /* asked of the socket at once, at least */
    INBOX_READ_AHEAD = 4 << 20,    /* unparsed bytes above which reading waits for the unit */
    OUTBOX_KEPT = 1 << 20,         /* an empty outbox larger than this gives its memory back */
};

typedef struct inbox {
    char *data;
    size_t start, len, cap; /* unparsed: [start, len) */
    bool pinned;            /* a frame inside is being handed out: do not move */
    resp_parser *parser;
} inbox;

struct channel {
    int fd;
    const channel_events *events;
    void *owner;
    inbox *in;
    char *out;
    size_t out_start, out_len, out_cap;
    bool serve_added, flush_added; /* to the unit's queue */
    bool watches_read, watches_write; /* in the event loop */
    bool was_full;                 /* a frame was turned away: tell when there is room */
    bool end_seen;                 /* end of file, or broken */
    bool end_told;
    bool closed;
    unsigned handlers; /* of frames that are at work */
    const char *why;   /* of the end */
    uint64_t heard_us;
};

static void serve(RedisModuleCtx *ctx, void *arg);

/* Takes data over: a buffer of cap bytes, len of them unparsed. */
static inbox *inbox_take(char *data, size_t len, size_t cap) {
    inbox *in = memory.alloc(sizeof(*in));
    *in = (inbox){.data = data, .len = len, .cap = cap};
    in->parser = resp_parser_new((size_t)settings.max_frame_bytes, FRAME_MAX_ELEMENTS);
    return in;
}

static inbox *inbox_new(const char *unparsed, size_t len) {
    size_t cap = len + INBOX_BYTES;
    char *data = memory.alloc(cap);
    if (len) memcpy(data, unparsed, len);
    return inbox_take(data, len, cap);
}

static void inbox_free(inbox *in) {
    resp_parser_free(in->parser);
    memory.free(in->data);
    memory.free(in);
}

/* The inbox to read into: where a frame of the present one is being handed out, a new one that holds the rest. */
static inbox *inbox_movable(channel *c) {
    if (c->in->pinned) c->in = inbox_new(c->in->data + c->in->start, c->in->len - c->in->start);
    return c->in;
}

static void inbox_reserve(inbox *in) {
    size_t unparsed = in->len - in->start;
    if (in->start > 0 && (unparsed == 0 || in->start >= in->cap / 2)) {
        memmove(in->data, in->data + in->start, unparsed);
        in->start = 0;
        in->len = unparsed;
    }
    if (in->len == 0 && in->cap > INBOX_READ_AHEAD) {
        memory.free(in->data);
        in->data = memory.alloc(INBOX_BYTES);
        in->cap = INBOX_BYTES;
    } else if (in->cap - in->len < INBOX_BYTES) {
        in->cap = in->cap * 2 + INBOX_BYTES;
        in->data = memory.realloc(in->data, in->cap);
    }
}

static resp_status inbox_parse(inbox *in, frame *out, size_t *consumed, const char **error) {
    resp_parser_limit(in->parser, (size_t)settings.max_frame_bytes); /* it may have been changed */
    return resp_parse(in->parser, in->data + in->start, in->len - in->start, out, consumed, error);
}

static void channel_free(channel *c) {
    inbox_free(c->in);
    memory.free(c->out);
    memory.free(c);
}

static void add_serve(channel *c) {
    if (c->serve_added || c->closed) return;
    c->serve_added = true;
    unit_add(serve, c);
}

static void see_end(channel *c, const char *why) {
    if (c->end_seen) return;
    c->end_seen = true;
    c->why = why;
    RedisModule_EventLoopDel(c->fd, REDISMODULE_EVENTLOOP_READABLE | REDISMODULE_EVENTLOOP_WRITABLE);
    c->watches_read = c->watches_write = false;
    add_serve(c);
}

void channel_read(channel *c) {
    if (c->end_seen) return;
    inbox *in = inbox_movable(c);
    for (;;) {
        inbox_reserve(in);
        ssize_t n = recv(c->fd, in->data + in->len, in->cap - in->len, 0);
        if (n > 0) {
            bool took_all = (size_t)n < in->cap - in->len;
            in->len += (size_t)n;
            c->heard_us = RedisModule_MonotonicMicroseconds();
            add_serve(c);
            if (took_all || in->len - in->start >= INBOX_READ_AHEAD) return;
        } else if (n == 0) {
            see_end(c, "it ended");
            return;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != EINTR) {
            see_end(c, "its connection broke");
            return;
        }
    }
}

static void on_readable(int fd, void *arg, int mask) {
    (void)mask;
    channel *c = arg;
    if (c->serve_added && c->in->len - c->in->start >= INBOX_READ_AHEAD) { /* the unit comes first, which may be held */
        RedisModule_EventLoopDel(fd, REDISMODULE_EVENTLOOP_READABLE);
        c->watches_read = false;
        return;
    }
    channel_read(c);
}

static bool watch_read(channel *c) {
    if (!c->watches_read && !c->end_seen) {
        c->watches_read = RedisModule_EventLoopAdd(c->fd, REDISMODULE_EVENTLOOP_READABLE, on_readable, c) == REDISMODULE_OK;
    }
    return c->watches_read;
}

/* False where no whole frame is there, or, after a malformed one, ever will be. */
static bool take_frame(channel *c, inbox *in, frame *f, size_t *consumed) {
    const char *error;
    resp_status status = inbox_parse(in, f, consumed, &error);
    if (status == RESP_BAD) {
        in->start = in->len;
        see_end(c, error);
    }
    if (status != RESP_FRAME) return false;
    in->start += *consumed;
    return true;
}

/* The inbox, which the frame lies in, stays as it is until the handler is back. */
static void hand_out(RedisModuleCtx *ctx, channel *c, inbox *in, const frame *f) {
    in->pinned = true;
    c->events->frame(ctx, c->owner, f);
    in->pinned = false;
    if (c->in != in) inbox_free(in);
}

/* Frees a channel that was closed meanwhile, when the last one that serves it ends. */
static void end_serving(channel *c) {
    c->handlers--;
    if (c->closed && c->handlers == 0) channel_free(c);
}

/* Parse what is there and hand it out; then, at the end of the stream, tell the owner. */
static void serve(RedisModuleCtx *ctx, void *arg) {
    channel *c = arg;
    c->serve_added = false;
    watch_read(c);
    c->handlers++;
    while (!c->closed) {
        inbox *in = c->in;
        frame f;
        size_t consumed;
        if (!take_frame(c, in, &f, &consumed)) break;
        hand_out(ctx, c, in, &f);
        if (unit_is_long()) {
            add_serve(c);
            break;
        }
    }
    if (!c->closed && c->end_seen && !c->serve_added && !c->end_told) {
        c->end_told = true;
        c->events->end(ctx, c->owner, c->why);
    }
    end_serving(c);
}

static void on_writable(int fd, void *arg, int mask) {
    (void)fd;
    (void)mask;
    channel_flush(arg);
}

static void watch_write(channel *c, bool watch) {
    if (c->watches_write == watch) return;
    c->watches_write = watch;
    if (watch) RedisModule_EventLoopAdd(c->fd, REDISMODULE_EVENTLOOP_WRITABLE, on_writable, c);
    else RedisModule_EventLoopDel(c->fd, REDISMODULE_EVENTLOOP_WRITABLE);
}

void channel_flush(channel *c) {
    if (c->end_seen || c->closed) return;
    while (c->out_start < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_start, c->out_len - c->out_start, MSG_NOSIGNAL);
        if (n >= 0) {
            c->out_start += (size_t)n;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM) {
            watch_write(c, true); /* also where it is the system that has no memory left: nothing is lost for that */
            return;
        } else if (errno != EINTR) {
            /* What the worker said before it went is still to be read; reading finds the end. */
            c->out_start = c->out_len;
        }
    }
    c->out_start = c->out_len = 0;
    if (c->out_cap > OUTBOX_KEPT) {
        memory.free(c->out);
        c->out = NULL;
        c->out_cap = 0;
    }
    watch_write(c, false);
    if (c->was_full) {
        c->was_full = false;
        c->events->room(c->owner);
    }
}

static void flush_in_unit(RedisModuleCtx *ctx, void *arg) {
    (void)ctx;
    channel *c = arg;
    c->flush_added = false;
    channel_flush(c);
}

/* Room for so many bytes at the end of the outbox, or NULL where they are too many. */
static char *out_reserve(channel *c, size_t bytes, bool must) {
    size_t waiting = c->out_len - c->out_start;
    if (!must && waiting > 0 && waiting + bytes > (size_t)settings.max_channel_bytes) {
        c->was_full = true;
        return NULL;
    }
    bool worth_moving = c->out_start > 0 && c->out_start >= c->out_cap / 2; /* else it costs more than it gives */
    if (c->out_cap - c->out_len < bytes && worth_moving) {
        memmove(c->out, c->out + c->out_start, waiting);
        c->out_start = 0;
        c->out_len = waiting;
    }
    if (c->out_cap - c->out_len < bytes) {
        size_t cap = c->out_cap ? c->out_cap : 16 * 1024;
        while (cap - c->out_len < bytes) cap *= 2;
        c->out = memory.realloc(c->out, cap);
        c->out_cap = cap;
    }
    return c->out + c->out_len;
}

static void out_added(channel *c, size_t bytes) {
    c->out_len += bytes;
    if (c->flush_added || c->watches_write) return;
    c->flush_added = true;
    unit_add(flush_in_unit, c);
}

static char *put(char *p, const void *data, size_t len) {
    if (len) memcpy(p, data, len);
    return p + len;
}

bool channel_send(channel *c, const frame_writer *head, const frame_writer *tail, bool must) {
    if (c->end_seen || c->closed) return false;
    size_t tail_len = tail ? tail->len : 0;
    char *start = out_reserve(c, FRAME_HEADER_MAX + head->len + tail_len, must);
    if (!start) return false;
    char *p = start + frame_write_header(start, head->count + (tail ? tail->count : 0));
    p = put(p, head->data, head->len);
    if (tail) p = put(p, tail->data, tail_len);
    out_added(c, (size_t)(p - start));
    return true;
}

bool channel_send_slices(channel *c, const slice *parts, size_t count, bool must) {
    if (c->end_seen || c->closed) return false;
    size_t bytes = FRAME_HEADER_MAX;
    for (size_t i = 0; i < count; i++) bytes += parts[i].len + FRAME_ELEMENT_MAX;
    if (bytes > (size_t)settings.max_frame_bytes) return false;
    char *start = out_reserve(c, bytes, must);
    if (!start) return false;
    char *p = start + frame_write_header(start, count);
    for (size_t i = 0; i < count; i++) p += frame_write_element(p, parts[i].data, parts[i].len);
    out_added(c, (size_t)(p - start));
    return true;
}

channel *channel_open(int fd, const channel_events *events, void *owner) {
    channel *c = memory.alloc(sizeof(*c));
    *c = (channel){.fd = fd, .events = events, .owner = owner, .heard_us = RedisModule_MonotonicMicroseconds()};
    if (!watch_read(c)) {
        close(fd);
        memory.free(c);
        return NULL;
    }
    c->in = inbox_new(NULL, 0);
    return c;
}

void channel_close(channel *c) {
    if (c->closed) return;
    if (!c->end_seen) {
        RedisModule_EventLoopDel(c->fd, REDISMODULE_EVENTLOOP_READABLE | REDISMODULE_EVENTLOOP_WRITABLE);
    }
    c->closed = c->end_seen = true;
    shutdown(c->fd, SHUT_RDWR);
    close(c->fd);
    unit_remove(c);
    if (c->handlers == 0) channel_free(c);
}

uint64_t channel_heard_us(const channel *c) {
    return c->heard_us;
}

int channel_fd(const channel *c) {
    return c->fd;
}

bool channel_wants_write(const channel *c) {
    return c->out_start < c->out_len;
}

bool channel_ended(const channel *c) {
    return c->end_seen;
}

static void aside_add(channel_aside *aside, const char *data, size_t len) {
    if (len == 0) return;
    if (aside->cap - aside->len < len) {
        size_t cap = aside->cap ? aside->cap : 4096;
        while (cap - aside->len < len) cap *= 2;
        aside->data = memory.realloc(aside->data, cap);
        aside->cap = cap;
    }
    memcpy(aside->data + aside->len, data, len);
    aside->len += len;
}

void channel_serve_some(RedisModuleCtx *ctx, channel *c, channel_aside *aside,
                        bool (*accept)(void *arg, const frame *f), bool (*finished)(void *arg), void *arg) {
    c->handlers++;
    while (!c->closed && !finished(arg)) {
        inbox *in = inbox_movable(c);
        frame f;
        size_t consumed;
        const char *at = in->data + in->start;
        if (!take_frame(c, in, &f, &consumed)) break;
        if (!accept(arg, &f)) {
            aside_add(aside, at, consumed);
            continue;
        }
        hand_out(ctx, c, in, &f);
    }
    end_serving(c);
}

void channel_give_back(channel *c, channel_aside *aside) {
    if (aside->len > 0) {
        inbox *old = c->in;
        aside_add(aside, old->data + old->start, old->len - old->start);
        c->in = inbox_take(aside->data, aside->len, aside->cap);
        if (!old->pinned) inbox_free(old); /* else by who hands its frame out */
        *aside = (channel_aside){0};
    }
    add_serve(c);
}
