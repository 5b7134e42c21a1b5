/* prefix.h: which patterns match a key. Pure: knows nothing of the server.
 *
 * A pattern that ends in '*' matches every key that starts with what stands before it; any other pattern matches only
 * the key equal to it (no other character is special); the empty pattern matches no key. Matching walks the key once,
 * however many patterns there are: a key that none matches usually costs the look at its first byte. */
#ifndef KEYMISS_PREFIX_H
#define KEYMISS_PREFIX_H

#include <stdbool.h>
#include <stddef.h>

bool prefix_matches(const char *pattern, size_t pattern_len, const char *key, size_t len);

typedef struct prefix_table prefix_table;

typedef void (*prefix_visit)(void *value, void *arg);

prefix_table *prefix_table_new(void);
void prefix_table_free(prefix_table *t); /* values belong to the caller */

/* A value may be added under several patterns, and several values under one. */
void prefix_table_add(prefix_table *t, const char *pattern, size_t len, void *value);

/* Takes out one `value` added under this pattern. Returns false if there is none. */
bool prefix_table_remove(prefix_table *t, const char *pattern, size_t len, const void *value);

bool prefix_table_matches(const prefix_table *t, const char *key, size_t len);

/* Visits the values of all matching patterns, shorter patterns first. The table must not change meanwhile. */
void prefix_table_find(const prefix_table *t, const char *key, size_t len, prefix_visit visit, void *arg);

#endif
