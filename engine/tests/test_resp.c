/* Frames and values: what is read, however the bytes are cut, what is refused, and that what is written is read back.
 * With a folder as argument, also the recorded frames in it (see its README). */
#include "../memory.c"
#include "../resp.c"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

enum { SMALL_MAX = 1000, ELEMENTS_MAX = 16 };

static int failures;

static void check(bool ok, const char *what) {
    if (ok) return;
    printf("failed: %s\n", what);
    failures++;
}

/* One character a byte where it prints, else %XX; "%" for an empty element; a space between elements, a line a frame. */
static void describe(const frame *f, FILE *out) {
    for (size_t i = 0; i < f->count; i++) {
        slice s = f->parts[i];
        if (i) fputc(' ', out);
        if (s.len == 0) fputc('%', out);
        for (size_t k = 0; k < s.len; k++) {
            unsigned char c = (unsigned char)s.data[k];
            if (c > ' ' && c < 127 && c != '%') fputc(c, out);
            else fprintf(out, "%%%02X", c);
        }
    }
    fputc('\n', out);
}

typedef struct outcome {
    char *text; /* every frame described */
    size_t text_len, consumed;
    resp_status status; /* RESP_MORE or RESP_BAD */
} outcome;

/* Reads the stream as a channel does, given `step` more bytes at a time, in a buffer that moves each time. */
static outcome read_stream(const char *data, size_t len, size_t step, size_t max_bytes, size_t max_elements) {
    outcome o = {0};
    FILE *out = open_memstream(&o.text, &o.text_len);
    resp_parser *p = resp_parser_new(max_bytes, max_elements);
    char *buffer = malloc(1);
    for (size_t have = 0; o.status != RESP_BAD;) {
        const char *error = NULL;
        frame f;
        size_t consumed = 0;
        o.status = resp_parse(p, buffer, have - o.consumed, &f, &consumed, &error);
        if (o.status == RESP_FRAME) {
            describe(&f, out);
            o.consumed += consumed;
        } else if (o.status == RESP_BAD) {
            check(error != NULL, "a refusal says why");
        } else if (have == len) {
            break;
        } else {
            have = have + step < len ? have + step : len;
        }
        char *moved = malloc(have - o.consumed + 1);
        memcpy(moved, data + o.consumed, have - o.consumed);
        free(buffer);
        buffer = moved;
    }
    free(buffer);
    resp_parser_free(p);
    fclose(out);
    return o;
}

static void check_frames(const char *stream, size_t len, const char *want, const char *what) {
    for (size_t step = 1; step <= len; step = step < 9 ? step + 1 : step * 3) {
        outcome o = read_stream(stream, len, step, 1 << 20, 1 << 10);
        check(strcmp(o.text, want) == 0 && o.status == RESP_MORE && o.consumed == len, what);
        free(o.text);
    }
}

static void test_frames_are_read_wherever_the_stream_is_cut(void) {
    static const char one[] = "*2\r\n$4\r\nDONE\r\n$2\r\n12\r\n";
    static const char two[] = "*1\r\n$0\r\n\r\n*2\r\n$3\r\n\r\n%\r\n$1\r\n*\r\n";
    check_frames(one, sizeof(one) - 1, "DONE 12\n", "one frame");
    check_frames(two, sizeof(two) - 1, "%\n%0D%0A%25 *\n", "empty elements and line ends inside elements");
}

static void test_malformed_frames_are_refused(void) {
    static const char *const streams[] = {
        "+OK\r\n", "hello", "*0\r\n", "*-1\r\n", "*\r\n", "*1\n$1\r\na\r\n", "*1\r\n:5\r\n", "*1\r\n$-1\r\n", "*1\r\n$\r\n",
        "*1\r\n*1\r\n$1\r\na\r\n", "*x\r\n", "*1x\r\n", "*1\r\n$1\r\nab\r\n", "*1\r\n$1\r\na\n\n", "*1\rx", "\r\n\r\n",
        "*17\r\n", "*99999999999999999999999\r\n", "*1\r\n$1001\r\n", "*1\r\n$18446744073709551616\r\n",
        "*2\r\n$900\r\n", "*00000000000000000000000000000001\r\n"};
    for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
        bool long_one = strncmp(streams[i], "*2\r\n$900", 8) == 0;
        char stream[SMALL_MAX * 2];
        size_t len = strlen(streams[i]);
        memcpy(stream, streams[i], len);
        if (long_one) { /* two elements that fit alone, not together */
            memset(stream + len, 'x', 900);
            len += 900;
            memcpy(stream + len, "\r\n$900\r\n", 8);
            len += 8;
        }
        for (size_t step = 1; step <= len; step += 7) {
            outcome o = read_stream(stream, len, step, SMALL_MAX, ELEMENTS_MAX);
            check(o.status == RESP_BAD && o.text_len == 0, streams[i]);
            free(o.text);
        }
    }
}

static void test_what_is_written_is_read_back(void) {
    srand(1);
    for (int round = 0; round < 300; round++) {
        frame_writer all, more;
        char header[FRAME_HEADER_MAX];
        frame_init(&all);
        frame_init(&more);
        char *want = NULL;
        size_t want_len = 0;
        FILE *out = open_memstream(&want, &want_len);
        slice parts[ELEMENTS_MAX];
        char bytes[ELEMENTS_MAX][64];
        size_t count = 1 + (size_t)rand() % ELEMENTS_MAX;
        for (size_t i = 0; i < count; i++) {
            size_t len = (size_t)rand() % 64;
            for (size_t k = 0; k < len; k++) bytes[i][k] = (char)rand();
            parts[i] = (slice){bytes[i], len};
            frame_add(i % 2 ? &more : &all, bytes[i], len);
        }
        frame f = {parts, count};
        /* all holds the even elements, more the odd ones: write them in that order */
        slice ordered[ELEMENTS_MAX];
        size_t n = 0;
        for (size_t i = 0; i < count; i += 2) ordered[n++] = parts[i];
        for (size_t i = 1; i < count; i += 2) ordered[n++] = parts[i];
        f.parts = ordered;
        describe(&f, out);
        fclose(out);
        frame_append(&all, &more);
        char *stream = malloc(all.len + FRAME_HEADER_MAX);
        size_t head = frame_write_header(header, all.count);
        memcpy(stream, header, head);
        memcpy(stream + head, all.data, all.len);
        check_frames(stream, head + all.len, want, "a frame that was written");
        free(stream);
        free(want);
        frame_free(&all);
        frame_free(&more);
    }
}

static void test_numbers(void) {
    static const struct {
        const char *text;
        bool ok;
        long long value;
    } cases[] = {{"0", true, 0},
                 {"-1", true, -1},
                 {"9223372036854775807", true, LLONG_MAX},
                 {"-9223372036854775808", true, LLONG_MIN},
                 {"9223372036854775808", false, 0},
                 {"-9223372036854775809", false, 0},
                 {"99999999999999999999", false, 0},
                 {"", false, 0},
                 {"-", false, 0},
                 {"+1", false, 0},
                 {" 1", false, 0},
                 {"1 ", false, 0},
                 {"1.0", false, 0},
                 {"0x1", false, 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        long long value = 7;
        bool ok = slice_number((slice){cases[i].text, strlen(cases[i].text)}, &value);
        check(ok == cases[i].ok && value == (ok ? cases[i].value : 7), cases[i].text);
        if (!ok) continue;
        frame_writer w;
        frame_init(&w);
        frame_add_number(&w, value);
        char want[64];
        int len = snprintf(want, sizeof(want), "$%zu\r\n%s\r\n", strlen(cases[i].text), cases[i].text);
        check(w.len == (size_t)len && memcmp(w.data, want, w.len) == 0, "a number that was written");
        frame_free(&w);
    }
}

static void test_words(void) {
    check(slice_is((slice){"GET", 3}, "GET") && !slice_is((slice){"get", 3}, "GET"), "slice_is");
    check(!slice_is((slice){"GE", 2}, "GET") && slice_is((slice){NULL, 0}, ""), "slice_is looks at the whole");
    check(slice_is_word((slice){"gEt", 3}, "GeT") && !slice_is_word((slice){"ge\xF4", 3}, "get"), "slice_is_word");
}

static void test_values(void) {
    static const char *const good[] = {"+OK\r\n", "+\r\n", "-ERR no\r\n", ":-5\r\n", "$0\r\n\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n",
                                       "$4\r\na\r\nb\r\n", "*2\r\n:1\r\n*1\r\n$1\r\na\r\n"};
    static const char *const malformed[] = {"",          "+",           "+OK",        "+OK\n",        "+a\nb\r\n", "+a\rb\r\n",
                                      ":\r\n",     ":x\r\n",      ":1.5\r\n",   "$1\r\nab\r\n", "$1\r\na",   "$-2\r\n",
                                      "*1\r\n",    "*-2\r\n",     "*2\r\n:1\r\n", "_\r\n",       "%1\r\n",    "#t\r\n",
                                      "$99999999999999999999\r\n", "*4294967296\r\n", "$9223372036854775807\r\na\r\n"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        size_t len = strlen(good[i]);
        check(resp_value_length(good[i], len) == len, good[i]);
        for (size_t cut = 0; cut < len; cut++) check(resp_value_length(good[i], cut) == 0, "a value that is cut short");
    }
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        check(resp_value_length(malformed[i], strlen(malformed[i])) == 0, malformed[i]);
    }
    char nested[400] = "";
    for (int depth = 0; depth < VALUE_MAX_DEPTH; depth++) strcat(nested, "*1\r\n");
    strcat(nested, ":1\r\n");
    check(resp_value_length(nested, strlen(nested)) == strlen(nested), "as deep as allowed");
    char deeper[404] = "*1\r\n";
    strcat(deeper, nested);
    check(resp_value_length(deeper, strlen(deeper)) == 0, "one deeper");
    check(resp_value_length("+a\r\n+b\r\n", 8) == 4, "only the first value counts");
}

static char *read_file(const char *folder, const char *name, const char *suffix, size_t *len) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s%s", folder, name, suffix);
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    char *data = calloc(1, 1 << 20);
    *len = fread(data, 1, (1 << 20) - 1, file);
    fclose(file);
    return data;
}

static void test_recorded_frames(const char *folder) {
    DIR *dir = opendir(folder);
    int found = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".resp") != 0) continue;
        *dot = 0;
        size_t len, want_len;
        char *stream = read_file(folder, entry->d_name, ".resp", &len);
        char *want = read_file(folder, entry->d_name, ".txt", &want_len);
        found++;
        if (strncmp(entry->d_name, "bad-", 4) == 0) {
            outcome o = read_stream(stream, len, 16, 1 << 20, 1 << 10);
            check(o.status == RESP_BAD, entry->d_name);
            free(o.text);
        } else if (want) {
            check_frames(stream, len, want, entry->d_name);
        } else {
            check(false, entry->d_name);
        }
        free(stream);
        free(want);
    }
    if (dir) closedir(dir);
    check(found > 0, "recorded frames were found");
}

int main(int argc, char **argv) {
    test_frames_are_read_wherever_the_stream_is_cut();
    test_malformed_frames_are_refused();
    test_what_is_written_is_read_back();
    test_numbers();
    test_words();
    test_values();
    if (argc > 1) test_recorded_frames(argv[1]);
    printf(failures ? "%d failures\n" : "all as expected\n", failures);
    return failures != 0;
}
