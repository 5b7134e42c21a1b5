/* resp.h: frames of the channel (docs/channel.md) and RESP2 values inside them. Pure: knows nothing of the server.
 *
 * A frame is a RESP array of bulk strings. Parsing never copies: a parsed frame points into the buffer it was
 * parsed from and lives as long as that buffer. */
#ifndef KEYMISS_RESP_H
#define KEYMISS_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct slice {
    const char *data;
    size_t len;
} slice;

typedef struct frame {
    slice *parts;    /* owned by the parser, valid until its next frame */
    size_t count;
} frame;

typedef enum resp_status { RESP_MORE, RESP_FRAME, RESP_BAD } resp_status;

typedef struct resp_parser resp_parser; /* resumable: what was read of a long frame is not read again */

resp_parser *resp_parser_new(size_t max_frame_bytes, size_t max_elements);
void resp_parser_free(resp_parser *p);
void resp_parser_limit(resp_parser *p, size_t max_frame_bytes); /* from the next element on */
/* Parse one frame at the start of buf. RESP_FRAME sets *out and *consumed; RESP_BAD sets *error to a static text. */
resp_status resp_parse(resp_parser *p, const char *buf, size_t len, frame *out, size_t *consumed, const char **error);

/* Elements of a frame under construction. Allocation failure aborts, as everywhere in a server. */
typedef struct frame_writer {
    char *data;
    size_t len, cap;
    size_t count; /* elements */
} frame_writer;

enum { FRAME_MAX_ELEMENTS = 1 << 20 }; /* as docs/channel.md says; for whoever writes one to heed */
void frame_init(frame_writer *w);
/* The line that goes before the elements when the frame is sent, "*<elements>\r\n"; returns its length. */
enum { FRAME_HEADER_MAX = 24 };
size_t frame_write_header(char out[FRAME_HEADER_MAX], size_t elements);
/* One element; out has room for len and FRAME_ELEMENT_MAX more. Returns the bytes written. */
enum { FRAME_ELEMENT_MAX = 26 };
size_t frame_write_element(char *out, const void *data, size_t len);
void frame_free(frame_writer *w);
void frame_add(frame_writer *w, const void *data, size_t len);
void frame_add_text(frame_writer *w, const char *text); /* NUL-terminated */
void frame_add_number(frame_writer *w, long long value);
void frame_add_slice(frame_writer *w, slice s);
void frame_append(frame_writer *w, const frame_writer *more); /* all of its elements */
slice frame_whole(const frame_writer *w); /* the frame's bytes, which are the caller's to free */

/* Reading elements. */
bool slice_is(slice s, const char *text);      /* same bytes */
bool slice_is_like(slice s, const char *word); /* the same bytes in any case, as far as s goes */
/* The same word of ASCII letters in any case. Inline, since most differ in their lengths already. */
static inline bool slice_is_word(slice s, const char *word) {
    return s.len == strlen(word) && slice_is_like(s, word);
}
static inline char ascii_lower(char c) {
    return (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}
bool slice_number(slice s, long long *value);  /* strict decimal, no leading zeros, whole slice */

/* Length of the one complete RESP2 value at the start of data, or 0 if it is malformed, cut short or nested deeper
 * than 64. Used before a worker's reply is given to a client. */
size_t resp_value_length(const char *data, size_t len);

#endif
