/* Any bytes as a stream of frames, cut anywhere, and as a value: never a bad read, and however the stream is cut, the same
 * frames. Build with -fsanitize=fuzzer,address,undefined. */
#include "../memory.c"
#include "../resp.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 512, ELEMENTS_MAX = 64 };

/* A hash of the frames read, and how the stream ended, when `step` more bytes come at a time. */
static uint64_t read_stream(const char *data, size_t size, size_t step) {
    resp_parser *p = resp_parser_new(BYTES_MAX, ELEMENTS_MAX);
    uint64_t hash = 1469598103934665603u;
    size_t start = 0;
    for (size_t have = 0;;) {
        size_t len = have - start, consumed;
        char *exact = malloc(len + 1); /* so that reading one byte too many is seen */
        exact = realloc(exact, len ? len : 1);
        if (len) memcpy(exact, data + start, len);
        const char *error;
        frame f;
        resp_status status = resp_parse(p, exact, len, &f, &consumed, &error);
        if (status == RESP_FRAME) {
            if (f.count == 0 || f.count > ELEMENTS_MAX || consumed > len || consumed == 0) abort();
            for (size_t i = 0; i < f.count; i++) {
                for (size_t k = 0; k < f.parts[i].len; k++) hash = (hash ^ (uint8_t)f.parts[i].data[k]) * 1099511628211u;
                hash = (hash ^ (0x100 + i)) * 1099511628211u;
            }
            start += consumed;
        }
        free(exact);
        if (status == RESP_BAD) {
            hash ^= 0xbad;
            break;
        }
        if (status == RESP_MORE && have == size) break;
        if (status == RESP_MORE) have = have + step < size ? have + step : size;
    }
    resp_parser_free(p);
    return hash ^ start;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    if (size > 4096) return 0;
    uint64_t whole = read_stream(text, size, size ? size : 1);
    if (read_stream(text, size, 1) != whole || read_stream(text, size, 13) != whole) abort();

    size_t len = resp_value_length(text, size);
    if (len > size || (len > 0 && resp_value_length(text, len) != len)) abort();
    if (len > 0 && resp_value_length(text, len - 1) != 0) abort();

    long long number;
    if (slice_number((slice){text, size}, &number)) {
        frame_writer w;
        frame_init(&w);
        frame_add_number(&w, number);
        frame_free(&w);
    }
    return 0;
}
