/* Any bytes as a script of adds, removes and look-ups, checked against a list. Build with -fsanitize=fuzzer,address,undefined. */
#include "../memory.c"
#include "../prefix.c"

#include <stdint.h>

enum { MOST = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct pattern {
    const char *data;
    size_t len;
} pattern;

static void count(void *value, void *arg) {
    (void)value;
    ++*(size_t *)arg;
}

static bool naive_match(const pattern *p, const char *key, size_t len) {
    if (p->len == 0) return false;
    if (p->data[p->len - 1] == '*') return len >= p->len - 1 && memcmp(p->data, key, p->len - 1) == 0;
    return len == p->len && memcmp(p->data, key, len) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    prefix_table *t = prefix_table_new();
    pattern patterns[MOST];
    size_t patterns_count = 0;
    while (size > 0) {
        unsigned op = data[0] & 3;
        size_t len = data[0] >> 2;
        data++, size--;
        if (len > size) len = size;
        const char *text = (const char *)data;
        if (op == 0 && patterns_count < MOST) {
            prefix_table_add(t, text, len, (void *)(uintptr_t)data);
            patterns[patterns_count++] = (pattern){text, len};
        } else if (op == 1 && patterns_count > 0) {
            pattern p = patterns[--patterns_count];
            if (prefix_table_remove(t, p.data, p.len, p.data) != (p.len > 0)) abort();
        } else {
            size_t want = 0, got = 0;
            for (size_t i = 0; i < patterns_count; i++) want += naive_match(&patterns[i], text, len);
            prefix_table_find(t, text, len, count, &got);
            if (got != want || prefix_table_matches(t, text, len) != (want > 0)) abort();
        }
        data += len, size -= len;
    }
    prefix_table_free(t);
    return 0;
}
