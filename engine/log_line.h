/* log_line.h: one line of the log, as text or as JSON (docs/tracing.md). Pure: knows nothing of the server.
 *
 *   text  <message, else the event> request=shard-1-5f0c2a-42 kind=MISS us=1203
 *   json  {"time":"2026-11-22T10:00:00.000Z","level":"notice",...,"event":"job-slow","kind":"MISS","us":1203}
 *
 * It is one line whatever it is given, and JSON is JSON: what does not fit is left out, as a whole. */
#ifndef KEYMISS_LOG_LINE_H
#define KEYMISS_LOG_LINE_H

#include "resp.h"

enum {
    LOG_LINE_MAX = 960,  /* servers cut at 1024, behind their own words */
    LOG_VALUE_MAX = 300, /* bytes of a value before escaping; the rest of it is left out */
};

typedef struct log_line {
    bool json;
    size_t len;
    char text[LOG_LINE_MAX + 1]; /* NUL-terminated by log_line_end */
} log_line;

/* `event` begins a line of text; one of JSON is begun by its first fields. */
void log_line_begin(log_line *l, bool json, const char *event);
void log_line_text(log_line *l, const char *name, slice value);
void log_line_word(log_line *l, const char *name, const char *value); /* NUL-terminated */
void log_line_number(log_line *l, const char *name, long long value);
void log_line_end(log_line *l);

#endif
