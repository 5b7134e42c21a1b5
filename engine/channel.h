/* channel.h: one byte stream to a worker in the server's event loop (docs/channel.md).
 *
 * 1. The event loop only moves bytes: what it reads waits in the inbox until a unit (unit.h) parses and hands it out.
 * 2. A frame that is being handed out stays valid until its handler returns, whatever the handler does: nested serving
 *    (calls.c) reads on in a new inbox, and a channel closed meanwhile is freed only when the last handler is back.
 * 3. Writing never blocks: what the socket does not take waits in the outbox, bounded by keymiss.max-channel-bytes. */
#ifndef KEYMISS_CHANNEL_H
#define KEYMISS_CHANNEL_H

#include "redis_api.h"
#include "resp.h"

typedef struct channel channel;

typedef struct channel_events {
    void (*frame)(RedisModuleCtx *ctx, void *owner, const frame *f);
    void (*end)(void *owner, const char *reason); /* once, in a unit; the channel is closed when it returns */
} channel_events;

/* Takes the descriptor over (made non-blocking and close-on-exec). */
channel *channel_open(int fd, const channel_events *events, void *owner);
void channel_close(channel *c); /* no event follows */

/* Queue one frame; what is queued in one turn of the event loop goes out in one write. False: too much waits. */
bool channel_send(channel *c, const frame_writer *f);
/* Room for a frame of so many bytes? */
bool channel_has_room(const channel *c, size_t bytes);
void channel_flush(channel *c); /* write now what can be written */
size_t channel_waiting_bytes(const channel *c);

/* For nested serving: take frames out of order while the main thread waits. */
int channel_fd(const channel *c);
bool channel_wants_write(const channel *c);
bool channel_read(channel *c);       /* take what the socket has; false at its end (an end event follows later) */
/* Hand out the frames that `now` accepts and keep the others, in order, for later. Stops when `now` says stop. */
typedef enum channel_choice { CHANNEL_NOW, CHANNEL_LATER, CHANNEL_STOP } channel_choice;
typedef channel_choice (*channel_chooser)(void *arg, const frame *f);

#endif
