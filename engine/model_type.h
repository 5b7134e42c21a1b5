/* model_type.h: models as values of keys (AI__MODEL): RDB, AOF, DUMP, COPY, MEMORY USAGE.
 *
 * 1. A model is made once and stored at one key; jobs that run it hold it, too, so it lives on while they do. What it says
 *    about itself does not change after it was stored; its counters do, on the main thread.
 * 2. COPY and RESTORE make another model with the same blob and counters at 0.
 * 3. A model's value may be freed in the server's lazy-free thread: the count of references is atomic, and the list of stored
 *    models is guarded by a mutex. */
#ifndef KEYMISS_MODEL_TYPE_H
#define KEYMISS_MODEL_TYPE_H

#include <stdatomic.h>

#include "ai_args.h"
#include "blobs.h"
#include "redis_api.h"

typedef struct names { /* in one allocation */
    slice *items;
    size_t count;
} names;

typedef struct run_counters { /* as AI.INFO shows them */
    long long duration_us, samples, calls, errors;
} run_counters;

typedef struct model {
    atomic_uint refs;
    model_backend backend;
    names words; /* device and tag, as they were given */
    long long batchsize, minbatchsize, minbatchtimeout_ms;
    names inputs, outputs; /* for most backends, as the models worker told when it loaded the model */
    blob *bytes;
    run_counters counters;
    struct model *next, **link; /* in the list of stored models; link is NULL outside of it */
    int db;                     /* where it was when last seen: keys are renamed and moved without telling, see models_each */
    names key;                  /* one name */
} model;

int model_type_init(RedisModuleCtx *ctx); /* REDISMODULE_ERR if the server refuses the type */

/* From a command's arguments; takes over the reference to the blob. */
model *model_new(const model_args *args, blob *bytes);
void model_set_names(model *m, const slice *inputs, size_t input_count, const slice *outputs, size_t output_count); /* before it is stored */
slice model_device(const model *m);
slice model_tag(const model *m);
model *model_hold(model *m); /* returns m */
void model_release(model *m); /* NULL is fine */

/* The elements of a frame that say which model; see docs/channel.md. */
void model_to_wire(const model *m, frame_writer *out);

/* The model at a key, good until the key is written to or the command ends. NULL with *error set when there is none. */
model *model_at(RedisModuleCtx *ctx, RedisModuleString *name, const char **error);
/* NULL where a model may be stored: the key is empty or holds one. Else the error. */
const char *model_check_key(RedisModuleCtx *ctx, RedisModuleString *name);
/* Store a model at such a key; takes the caller's reference over. Does not replicate. */
void model_store(RedisModuleCtx *ctx, RedisModuleString *name, model *m);

/* The arguments of the AI.MODELSTORE that makes this model, up to BLOB: what follows are chunks. With the names of inputs and
 * outputs, which only a command of ARGS_FROM_SERVER may give for every backend: so nobody has to load the model to know them. */
size_t model_arguments_open(const model *m, const RedisModuleString *key, RedisModuleString ***out);
void model_arguments_close(RedisModuleString **arguments, size_t count);

/* Visit the stored models of all databases with the keys that they have now. */
void models_each(RedisModuleCtx *ctx, void (*visit)(RedisModuleCtx *ctx, RedisModuleString *key, const model *m, void *arg), void *arg);

/* Models that keys hold; bytes of their blobs, one that several models share counted once for each. */
void model_type_totals(long long *models, long long *bytes);

#endif
