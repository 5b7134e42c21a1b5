/* memory.h: where the pure parts get their memory from: malloc in unit tests and fuzzers, the server's allocator in
 * the module, so that INFO memory and maxmemory see it. */
#ifndef KEYMISS_MEMORY_H
#define KEYMISS_MEMORY_H

#include <stddef.h>

typedef struct memory_functions {
    void *(*alloc)(size_t size);              /* aborts when there is none, as everywhere in a server */
    void *(*try_alloc)(size_t size);          /* NULL when there is none; for sizes that a user chose */
    void *(*realloc)(void *p, size_t size);   /* aborts when there is none */
    void (*free)(void *p);                    /* NULL is fine */
} memory_functions;

extern memory_functions memory; /* set once, at load */

#endif
