/* log_line.c: see log_line.h. */
#include "log_line.h"

#include <stdio.h>
#include <string.h>

enum { CLOSING = 2 }; /* what has to fit behind all fields: a quote and a brace */

/* Everything is added by this. False, and nothing added, where it does not fit. */
static bool add(log_line *l, const char *text, size_t len) {
    if (l->len + len > LOG_LINE_MAX - CLOSING) return false;
    memcpy(l->text + l->len, text, len);
    l->len += len;
    return true;
}

static bool add_string(log_line *l, const char *text) {
    return add(l, text, strlen(text));
}

/* The length of the UTF-8 character at text, 0 if it is none. */
static size_t character(const unsigned char *text, size_t len) {
    size_t wanted = text[0] < 0x80 ? 1 : text[0] >= 0xc2 && text[0] < 0xe0 ? 2 : text[0] >= 0xe0 && text[0] < 0xf0 ? 3
                  : text[0] >= 0xf0 && text[0] < 0xf5 ? 4 : 0;
    if (wanted > len) return 0;
    for (size_t i = 1; i < wanted; i++) {
        if ((text[i] & 0xc0) != 0x80) return 0;
    }
    bool overlong = (text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xf0 && text[1] < 0x90);
    bool beyond = (text[0] == 0xed && text[1] >= 0xa0) || (text[0] == 0xf4 && text[1] >= 0x90);
    return overlong || beyond ? 0 : wanted;
}

/* In both forms: a backslash before quotes and backslashes, \n, \r and \t, \u00.. for what does not print, U+FFFD for bytes
 * that are no UTF-8. */
static bool add_escaped(log_line *l, slice value) {
    const unsigned char *text = (const unsigned char *)value.data;
    size_t len = value.len < LOG_VALUE_MAX ? value.len : LOG_VALUE_MAX, at = 0;
    bool fits = true;
    while (fits && at < len) {
        /* Looked for in the whole value: its end here may lie inside of a character, which is then left out. */
        size_t bytes = character(text + at, value.len - at);
        char code[8];
        if (bytes > len - at) break;
        if (bytes == 0) {
            fits = add_string(l, "\xef\xbf\xbd");
            bytes = 1;
        } else if (bytes > 1) {
            fits = add(l, value.data + at, bytes);
        } else if (text[at] == '"' || text[at] == '\\') {
            fits = add(l, "\\", 1) && add(l, value.data + at, 1);
        } else if (text[at] == '\n' || text[at] == '\r' || text[at] == '\t') {
            fits = add_string(l, text[at] == '\n' ? "\\n" : text[at] == '\r' ? "\\r" : "\\t");
        } else if (text[at] < ' ' || text[at] == 0x7f) {
            fits = add(l, code, (size_t)snprintf(code, sizeof(code), "\\u%04x", text[at]));
        } else {
            fits = add(l, value.data + at, 1);
        }
        at += bytes;
    }
    return fits;
}

static bool add_quoted(log_line *l, slice value) {
    return add(l, "\"", 1) && add_escaped(l, value) && add(l, "\"", 1);
}

/* May a value stand in a line of text without quotes? */
static bool is_plain(slice value) {
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.data[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '=') return false;
    }
    return value.len > 0 && value.len <= LOG_VALUE_MAX;
}

static bool add_name(log_line *l, const char *name) {
    if (!l->json) return add(l, " ", 1) && add_string(l, name) && add(l, "=", 1);
    return add_string(l, l->len > 1 ? ",\"" : "\"") && add_string(l, name) && add_string(l, "\":");
}

void log_line_begin(log_line *l, bool json, const char *event) {
    l->json = json;
    l->len = 0;
    if (json) add(l, "{", 1);
    else add_string(l, event);
}

void log_line_text(log_line *l, const char *name, slice value) {
    size_t before = l->len;
    bool plain = !l->json && is_plain(value);
    if (!add_name(l, name) || !(plain ? add(l, value.data, value.len) : add_quoted(l, value))) l->len = before;
}

void log_line_word(log_line *l, const char *name, const char *value) {
    log_line_text(l, name, (slice){value, strlen(value)});
}

void log_line_number(log_line *l, const char *name, long long value) {
    size_t before = l->len;
    char text[24];
    if (!add_name(l, name) || !add(l, text, (size_t)snprintf(text, sizeof(text), "%lld", value))) l->len = before;
}

void log_line_end(log_line *l) {
    if (l->json) l->text[l->len++] = '}';
    l->text[l->len] = 0;
}
