/* stored_values.h: the values of one type that keys hold, of all databases.
 *
 * A mutex guards the lists: a value may be freed in the server's lazy-free thread. Everything else is for the main
 * thread. */
#ifndef KEYMISS_STORED_VALUES_H
#define KEYMISS_STORED_VALUES_H

#include <stdatomic.h>

#include "names.h"
#include "redis_api.h"

/* A part of each such value; for stored_values.c alone. */
typedef struct stored_value {
    struct stored_value *next, **link;
    void *value; /* what it is a part of */
    size_t bytes;
    int db;
    names key; /* one name: of the key that held it when it was seen last */
} stored_value;

typedef struct stored_values {
    RedisModuleType *type; /* of the keys' values */
    const char *empty;     /* the error where there is no key */
    void (*hold)(void *value);
    void (*release)(void *value);
    stored_value *first;       /* guarded: newest first */
    atomic_llong count, bytes; /* changed with it */
} stored_values;

/* value, which entry is a part of and which counts with so many bytes, is the value of this key (NULL: not known) from
 * now on. */
void stored_values_add(stored_values *all, stored_value *entry, void *value, size_t bytes, int db,
                       const RedisModuleString *key);
void stored_values_remove(stored_values *all, stored_value *entry); /* in any thread */
/* Before the value is freed. */
void stored_value_clear(stored_value *entry);
size_t stored_value_bytes(const stored_value *entry); /* on the heap, beside the value itself */

/* Visit each with the key that holds it now. */
typedef void (*stored_values_visit)(RedisModuleCtx *ctx, RedisModuleString *key, const void *value, void *arg);
void stored_values_each(RedisModuleCtx *ctx, stored_values *all, stored_values_visit visit, void *arg);

/* Is there one, where it was seen last, that the question is true of? Reads no other keys: one that was renamed since may
 * be overlooked. */
typedef bool (*stored_values_question)(const void *value, const void *arg);
bool stored_values_any(RedisModuleCtx *ctx, stored_values *all, stored_values_question is, const void *arg);

/* How many, and their bytes. Waits for nobody: the report of a crash asks, too. */
void stored_values_totals(stored_values *all, long long *count, long long *bytes);

#endif
