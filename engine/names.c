#include "names.h"

#include <string.h>

#include "memory.h"

names names_copy(const slice *items, size_t count) {
    names n = {NULL, count};
    size_t size = count * sizeof *items;
    char *at;
    if (count == 0) return n;
    for (size_t i = 0; i < count; i++) size += items[i].len;
    n.items = memory.alloc(size);
    at = (char *)(n.items + count);
    for (size_t i = 0; i < count; i++) {
        if (items[i].len > 0) memcpy(at, items[i].data, items[i].len);
        n.items[i] = (slice){at, items[i].len};
        at += items[i].len;
    }
    return n;
}

void names_free(names *n) {
    memory.free(n->items);
    *n = (names){NULL, 0};
}

size_t names_bytes(const names *n) {
    size_t bytes = n->count * sizeof *n->items;
    for (size_t i = 0; i < n->count; i++) bytes += n->items[i].len;
    return bytes;
}

void names_to_wire(const names *n, frame_writer *out) {
    frame_add_number(out, (long long)n->count);
    for (size_t i = 0; i < n->count; i++) frame_add(out, n->items[i].data, n->items[i].len);
}
