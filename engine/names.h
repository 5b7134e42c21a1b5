/* names.h: short texts in their order: the names of a model's inputs, the entry points of a script. Pure. */
#ifndef KEYMISS_NAMES_H
#define KEYMISS_NAMES_H

#include "resp.h"

typedef struct names { /* in one allocation */
    slice *items;
    size_t count;
} names;

names names_copy(const slice *items, size_t count);
void names_free(names *n);
size_t names_bytes(const names *n); /* on the heap */

/* Elements of a frame: <n> <name>*n. */
void names_to_wire(const names *n, frame_writer *out);

#endif
