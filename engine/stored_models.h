/* stored_models.h: the models that keys hold, of all databases.
 *
 * A mutex guards the list: a value may be freed in the server's lazy-free thread. Everything else is for the main
 * thread. */
#ifndef KEYMISS_STORED_MODELS_H
#define KEYMISS_STORED_MODELS_H

#include "model.h"
#include "redis_api.h"

/* m is the value of this key from now on. Returns m. */
model *stored_models_add(model *m, int db, const RedisModuleString *key);
void stored_models_remove(model *m); /* in any thread */

/* Visit each with the key that holds it now. */
typedef void (*stored_models_visit)(RedisModuleCtx *ctx, RedisModuleString *key, const model *m, void *arg);
void stored_models_each(RedisModuleCtx *ctx, stored_models_visit visit, void *arg);

/* How many, and the bytes of their blobs, one that several models share counted once for each. */
void stored_models_totals(long long *models, long long *bytes);

#endif
