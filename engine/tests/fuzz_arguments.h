/* A fuzzer's bytes as the arguments of a command: cut at each 0xff; byte 0xfe followed by another stands for a word of
 * the grammar, so that the fuzzer gets past the keywords. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ARGUMENTS = 512 };

static void check(bool ok) {
    if (!ok) __builtin_trap();
}

static size_t cut_arguments(const uint8_t *data, size_t size, const char *const *words, size_t word_count,
                            slice argv[MAX_ARGUMENTS]) {
    size_t argc = 0, start = 0;
    for (size_t i = 0; i <= size && argc < MAX_ARGUMENTS; i++) {
        if (i < size && data[i] != 0xff && !(data[i] == 0xfe && i + 1 < size)) continue;
        if (i > start || (i < size && data[i] == 0xff)) argv[argc++] = (slice){(const char *)data + start, i - start};
        if (i < size && data[i] == 0xfe && argc < MAX_ARGUMENTS) {
            const char *word = words[data[++i] % word_count];
            argv[argc++] = (slice){word, strlen(word)};
        }
        start = i + 1;
    }
    return argc;
}
