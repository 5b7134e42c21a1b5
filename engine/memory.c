#include "memory.h"

#include <stdio.h>
#include <stdlib.h>

static void *checked(void *p, size_t size) {
    if (p == NULL && size > 0) {
        fprintf(stderr, "out of memory: %zu bytes\n", size);
        abort();
    }
    return p;
}

static void *alloc(size_t size) {
    return checked(malloc(size), size);
}

static void *resize(void *p, size_t size) {
    return checked(realloc(p, size), size);
}

memory_functions memory = {alloc, malloc, resize, free};
