/* resp.c: see resp.h. Both readers are strict: what is not exactly RESP2 is an error, never a guess. */
#include "resp.h"

#include <limits.h>
#include <string.h>

#include "memory.h"

/* "*1048576\r\n", "$1073741824\r\n": a length line longer than this is no length. */
enum { LINE_MAX_CHARS = 24 };
enum { VALUE_MAX_DEPTH = 64 };
/* Parts kept from one frame to the next; a frame with more gives its memory back. */
enum { PARTS_KEPT = 1024 };

typedef struct span {
    size_t at, len;
} span;

struct resp_parser {
    size_t max_bytes, max_elements;
    size_t at;        /* read so far, from the start of the frame */
    size_t expected;  /* elements of the frame; 0 before its first line */
    size_t count;     /* elements read */
    size_t bulk_len;  /* of the element whose length line was read */
    bool in_bulk;
    span *spans;      /* offsets, since the buffer may move while a frame is incomplete */
    slice *parts;
    size_t cap;       /* of spans and parts */
};

resp_parser *resp_parser_new(size_t max_frame_bytes, size_t max_elements) {
    resp_parser *p = memory.alloc(sizeof(*p));
    *p = (resp_parser){.max_bytes = max_frame_bytes, .max_elements = max_elements};
    return p;
}

void resp_parser_free(resp_parser *p) {
    if (!p) return;
    memory.free(p->spans);
    memory.free(p->parts);
    memory.free(p);
}

void resp_parser_limit(resp_parser *p, size_t max_frame_bytes) {
    p->max_bytes = max_frame_bytes;
}

static void parser_restart(resp_parser *p) {
    p->at = p->expected = p->count = 0;
    p->in_bulk = false;
    if (p->cap > PARTS_KEPT) {
        memory.free(p->spans);
        memory.free(p->parts);
        p->spans = NULL;
        p->parts = NULL;
        p->cap = 0;
    }
}

static void parser_grow(resp_parser *p) {
    p->cap = p->cap ? p->cap * 2 : 32;
    p->spans = memory.realloc(p->spans, p->cap * sizeof(*p->spans));
    p->parts = memory.realloc(p->parts, p->cap * sizeof(*p->parts));
}

/* Reads "<type><digits>\r\n" at data. RESP_FRAME: *value and *line_len are set. */
static resp_status read_length_line(const char *data, size_t len, char type, size_t *value, size_t *line_len) {
    if (len == 0) return RESP_MORE;
    if (data[0] != type) return RESP_BAD;
    size_t n = 0, i = 1;
    for (; i < len && i < LINE_MAX_CHARS && data[i] >= '0' && data[i] <= '9'; i++) {
        size_t digit = (size_t)(data[i] - '0');
        if (n > (SIZE_MAX - digit) / 10) return RESP_BAD;
        n = n * 10 + digit;
    }
    if (i == LINE_MAX_CHARS) return RESP_BAD;
    if (i == len) return RESP_MORE;
    if (i == 1 || data[i] != '\r') return RESP_BAD;
    if (i + 1 == len) return RESP_MORE;
    if (data[i + 1] != '\n') return RESP_BAD;
    *value = n;
    *line_len = i + 2;
    return RESP_FRAME;
}

static resp_status bad(const char **error, const char *text) {
    *error = text;
    return RESP_BAD;
}

resp_status resp_parse(resp_parser *p, const char *buf, size_t len, frame *out, size_t *consumed, const char **error) {
    size_t line_len;
    resp_status status;
    if (p->expected == 0) {
        if (p->at != 0 || p->count != 0) parser_restart(p);
        size_t elements;
        status = read_length_line(buf, len, '*', &elements, &line_len);
        if (status == RESP_MORE) return status;
        if (status == RESP_BAD) return bad(error, "a frame must start with *<number of elements>");
        if (elements == 0) return bad(error, "a frame must not be empty");
        if (elements > p->max_elements) return bad(error, "a frame has too many elements");
        p->expected = elements;
        p->at = line_len;
    }
    while (p->count < p->expected) {
        if (!p->in_bulk) {
            status = read_length_line(buf + p->at, len - p->at, '$', &p->bulk_len, &line_len);
            if (status == RESP_MORE) return status;
            if (status == RESP_BAD) return bad(error, "an element must be $<length> and its bytes");
            p->at += line_len;
            if (p->at > p->max_bytes || p->bulk_len > p->max_bytes - p->at) return bad(error, "a frame is too long");
            p->in_bulk = true;
        }
        if (len - p->at < p->bulk_len || len - p->at - p->bulk_len < 2) return RESP_MORE;
        const char *end = buf + p->at + p->bulk_len;
        if (end[0] != '\r' || end[1] != '\n') return bad(error, "an element is longer than it said");
        if (p->count == p->cap) parser_grow(p);
        p->spans[p->count++] = (span){p->at, p->bulk_len};
        p->at += p->bulk_len + 2;
        p->in_bulk = false;
    }
    for (size_t i = 0; i < p->count; i++) p->parts[i] = (slice){buf + p->spans[i].at, p->spans[i].len};
    *out = (frame){p->parts, p->count};
    *consumed = p->at;
    p->expected = 0; /* the next call starts anew; parts stay until then */
    return RESP_FRAME;
}

void frame_init(frame_writer *w) {
    *w = (frame_writer){0};
}

void frame_free(frame_writer *w) {
    memory.free(w->data);
    frame_init(w);
}

static char *frame_reserve(frame_writer *w, size_t more) {
    if (w->cap - w->len < more) {
        size_t cap = w->cap ? w->cap : 256;
        while (cap - w->len < more) cap *= 2;
        w->data = memory.realloc(w->data, cap);
        w->cap = cap;
    }
    return w->data + w->len;
}

/* Writes the decimal digits of n, returns their number; at most 20. */
static size_t write_digits(char *out, unsigned long long n) {
    char reversed[20];
    size_t count = 0;
    do {
        reversed[count++] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    for (size_t i = 0; i < count; i++) out[i] = reversed[count - 1 - i];
    return count;
}

size_t frame_write_header(char out[FRAME_HEADER_MAX], size_t elements) {
    size_t n = 0;
    out[n++] = '*';
    n += write_digits(out + n, elements);
    out[n++] = '\r';
    out[n++] = '\n';
    return n;
}

size_t frame_write_element(char *out, const void *data, size_t len) {
    char *p = out;
    *p++ = '$';
    p += write_digits(p, len);
    *p++ = '\r';
    *p++ = '\n';
    if (len) memcpy(p, data, len);
    p += len;
    *p++ = '\r';
    *p++ = '\n';
    return (size_t)(p - out);
}

void frame_add(frame_writer *w, const void *data, size_t len) {
    w->len += frame_write_element(frame_reserve(w, len + FRAME_ELEMENT_MAX), data, len);
    w->count++;
}

void frame_add_text(frame_writer *w, const char *text) {
    frame_add(w, text, strlen(text));
}

void frame_add_number(frame_writer *w, long long value) {
    char text[LINE_MAX_CHARS];
    size_t n = 0;
    if (value < 0) text[n++] = '-';
    n += write_digits(text + n, value < 0 ? 0 - (unsigned long long)value : (unsigned long long)value);
    frame_add(w, text, n);
}

void frame_add_slice(frame_writer *w, slice s) {
    frame_add(w, s.data, s.len);
}

slice frame_whole(const frame_writer *w) {
    char *data = memory.alloc(FRAME_HEADER_MAX + w->len);
    size_t len = frame_write_header(data, w->count);
    if (w->len) memcpy(data + len, w->data, w->len);
    return (slice){data, len + w->len};
}

void frame_append(frame_writer *w, const frame_writer *more) {
    if (more->len) memcpy(frame_reserve(w, more->len), more->data, more->len);
    w->len += more->len;
    w->count += more->count;
}

bool slice_is(slice s, const char *text) {
    size_t len = strlen(text);
    return s.len == len && (len == 0 || memcmp(s.data, text, len) == 0);
}

bool slice_is_like(slice s, const char *word) {
    for (size_t i = 0; i < s.len; i++) {
        if (ascii_lower(s.data[i]) != ascii_lower(word[i])) return false;
    }
    return true;
}

bool slice_number(slice s, long long *value) {
    bool negative = s.len > 0 && s.data[0] == '-';
    size_t i = negative ? 1 : 0;
    if (i == s.len) return false;
    if (s.data[i] == '0' && s.len > 1) return false; /* one way to write a number: no "007", no "-0" */
    unsigned long long n = 0;
    const unsigned long long limit = negative ? 0 - (unsigned long long)LLONG_MIN : LLONG_MAX;
    for (; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9') return false;
        unsigned long long digit = (unsigned long long)(s.data[i] - '0');
        if (n > (limit - digit) / 10) return false;
        n = n * 10 + digit;
    }
    *value = negative ? (n == limit ? LLONG_MIN : -(long long)n) : (long long)n;
    return true;
}

/* Length of the line at data, CRLF included, or 0: no stray CR or LF inside. */
static size_t line_length(const char *data, size_t len) {
    for (size_t i = 0; i + 1 < len; i++) {
        if (data[i] == '\r') return data[i + 1] == '\n' ? i + 2 : 0;
        if (data[i] == '\n') return 0;
    }
    return 0;
}

static size_t value_length(const char *data, size_t len, int depth) {
    if (depth > VALUE_MAX_DEPTH) return 0;
    size_t line = line_length(data, len);
    if (line < 3) return 0;
    char type = data[0];
    if (type == '+' || type == '-') return line;
    long long n;
    if (!slice_number((slice){data + 1, line - 3}, &n)) return 0;
    if (type == ':') return line;
    if (type != '$' && type != '*') return 0;
    if (n == -1) return line;
    if (n < 0) return 0;
    if (type == '$') {
        size_t left = len - line;
        if ((unsigned long long)n > left || left - (size_t)n < 2) return 0;
        const char *end = data + line + n;
        return end[0] == '\r' && end[1] == '\n' ? line + (size_t)n + 2 : 0;
    }
    size_t at = line;
    for (long long i = 0; i < n; i++) {
        size_t one = value_length(data + at, len - at, depth + 1);
        if (one == 0) return 0;
        at += one;
    }
    return at;
}

size_t resp_value_length(const char *data, size_t len) {
    return value_length(data, len, 0);
}
