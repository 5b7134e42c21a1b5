/* background.h: what takes long and needs nothing of the server, such as hashing a large model, in a thread of its own.
 *
 * One thread, made when it is first needed, does one thing after the other, in order. What waits is bounded by who asks:
 * each is a command whose client is blocked. */
#ifndef KEYMISS_BACKGROUND_H
#define KEYMISS_BACKGROUND_H

#include "unit.h"

/* Run work(arg) in the thread, and when that is done then(ctx, arg) in a unit on the main thread. Where no thread can be
 * made the work is done at once. */
void background_run(void (*work)(void *arg), unit_function then, void *arg);

#endif
