/* stages.h: how long the stages of a miss take that pass here, as INFO keymiss shows them: stage_hook, from when its command
 * was seen until its job is queued; stage_queue, until that is written to the functions worker; stage_reply, from when the
 * worker's DONE was read until the client is answered. What lies between is the worker's. */
#ifndef KEYMISS_STAGES_H
#define KEYMISS_STAGES_H

#include <stdint.h>

typedef enum stage { STAGE_HOOK, STAGE_QUEUE, STAGE_REPLY, STAGES } stage;

void stages_init(void);
void stage_add(stage s, uint64_t us);

/* When the command that runs now was seen, monotonic. Not inside a transaction or a script, of which the server knows one time. */
uint64_t stage_command_seen_us(void);

#endif
