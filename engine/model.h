/* model.h: a model: its bytes, what it says about itself, and its counters.
 *
 * 1. A model is made once; a key and the jobs that run it hold it, so it lives on while they do. What it says about
 *    itself does not change after it was stored; its counters do, on the main thread.
 * 2. COPY and RESTORE make another model with the same blob and counters at 0.
 * 3. The server may free a key's value in its lazy-free thread: the count of references is atomic, and where the
 *    model is stored belongs to stored_values.c, which guards it. */
#ifndef KEYMISS_MODEL_H
#define KEYMISS_MODEL_H

#include <stdatomic.h>

#include "ai_args.h"
#include "blobs.h"
#include "names.h"
#include "run_counters.h"
#include "stored_values.h"

typedef struct model {
    atomic_uint refs;
    model_backend backend;
    names words; /* device and tag, as they were given */
    long long batchsize, minbatchsize, minbatchtimeout_ms;
    names inputs, outputs; /* for most backends, as the models worker told when it loaded the model */
    blob *bytes;
    slice wire; /* see model_to_wire; NULL until it was asked for */
    run_counters counters;
    stored_value stored;
} model;

/* From a command's arguments; takes over the reference to the blob. */
model *model_new(const model_args *args, blob *bytes);
/* Another one that says the same, for COPY. */
model *model_copy(const model *m);
/* Before it is stored. */
void model_set_names(model *m, const slice *inputs, size_t input_count, const slice *outputs, size_t output_count);
slice model_device(const model *m);
slice model_tag(const model *m);
size_t model_bytes(const model *m); /* on the heap and mapped */
model *model_hold(model *m); /* returns m */
void model_release(model *m); /* NULL is fine */

/* The element of a frame that says which model, see docs/channel.md; it lives as long as the model. */
slice model_to_wire(model *m);

#endif
