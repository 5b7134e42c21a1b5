/* channel.h: one byte stream to a worker in the server's event loop (docs/channel.md).
 *
 * 1. The event loop only moves bytes: what it reads waits in the inbox until a unit (unit.h) parses it and hands it out.
 * 2. A frame that is being handed out stays valid until its handler returns, whatever the handler does: nested serving
 *    (nested.c) reads on in a new inbox, and a channel closed meanwhile is freed when the last handler is back.
 * 3. Writing never blocks: what is queued in one turn of the event loop goes out in one write, and what the socket does
 *    not take waits in the outbox, bounded by keymiss.max-channel-bytes. */
#ifndef KEYMISS_CHANNEL_H
#define KEYMISS_CHANNEL_H

#include "redis_api.h"
#include "resp.h"

typedef struct channel channel;

typedef struct channel_events {
    void (*frame)(RedisModuleCtx *ctx, void *owner, const frame *f);
    void (*room)(void *owner);                                      /* a full outbox has emptied */
    void (*end)(RedisModuleCtx *ctx, void *owner, const char *why); /* once; then close it */
} channel_events;

/* Takes the descriptor over; it must be non-blocking and close-on-exec. NULL, with the descriptor closed, if the server
 * does not take it (too many clients). */
channel *channel_open(int fd, const channel_events *events, void *owner);
void channel_close(channel *c); /* no event follows; the other side sees the end even if a fork holds the descriptor */

/* Queue one frame: the elements of head, then those of tail (may be NULL). False: too much waits to be sent. A frame that
 * `must` go is queued whatever waits: for small frames that another waits for, and for what is not told again. */
bool channel_send(channel *c, const frame_writer *head, const frame_writer *tail, bool must);
/* The same from slices; false also where it is larger than keymiss.max-frame-bytes. */
bool channel_send_slices(channel *c, const slice *parts, size_t count, bool must);
void channel_flush(channel *c); /* write now what can be written */

uint64_t channel_heard_us(const channel *c); /* monotonic time of the last bytes received */

/* For nested serving, while the main thread waits. */
int channel_fd(const channel *c);
bool channel_wants_write(const channel *c);
bool channel_ended(const channel *c); /* nothing more will come; the end event follows in a later unit */
void channel_read(channel *c);        /* take what the socket has */

typedef struct channel_aside { /* whole frames put aside, in order; zero to begin with */
    char *data;
    size_t len, cap;
} channel_aside;

/* Hand out the frames that `accept` wants, put the others aside, until `finished` or the inbox is empty. */
void channel_serve_some(RedisModuleCtx *ctx, channel *c, channel_aside *aside,
                        bool (*accept)(void *arg, const frame *f), bool (*finished)(void *arg), void *arg);
/* Put what was put aside back in front of the rest. */
void channel_give_back(channel *c, channel_aside *aside);

#endif
