/* asker.h: who of the workers asked for something, and the answers: RESULT and OUTPUTS. */
#ifndef KEYMISS_ASKER_H
#define KEYMISS_ASKER_H

#include "jobs.h"

/* A frame of one generation of a worker, answered once by RESULT or OUTPUTS. */
typedef struct asker {
    worker_role role;
    unsigned generation;
    unsigned long long seq;
} asker;

/* From the <seq> of a frame that is being handled. False if it is no number (the frame is then malformed). */
bool asker_read(worker_role role, slice seq, asker *out);

/* RESULT <seq> <reply>: reply is one whole RESP2 value. Dropped if that worker is gone. */
void asker_result(asker a, const char *reply, size_t len);
void asker_result_ok(asker a);
void asker_result_error(asker a, const char *error); /* a whole error, code first */

/* OUTPUTS <seq> <reply> <n> ...: tensors are three elements each (dtype, shape, data); 3 * n elements in parts. */
void asker_outputs(asker a, slice reply, const slice *parts, size_t n);
void asker_outputs_error(asker a, const char *error);

#endif
