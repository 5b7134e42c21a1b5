/* job_log.c: see job_log.h. */
#include "job_log.h"

#include <string.h>

#include "log.h"
#include "settings.h"
#include "worker.h"

enum { REGISTRATION_AT = 2, KEY_AT = 3 }; /* in the body of MISS and EVENT, behind database and flags */

/* An error in the reply: of a function or of a model. */
static bool says_error(const job_result *result) {
    return result->end == JOB_DONE && result->done.count > 0 && result->done.parts[0].len > 0 &&
           result->done.parts[0].data[0] == '-';
}

/* The element at this place of what we wrote ourselves. */
static slice element(const frame_writer *w, size_t place) {
    const char *at = w->data, *end = w->data + w->len;
    for (size_t i = 0; at < end; i++) {
        size_t len = 0;
        for (at++; *at != '\r'; at++) len = 10 * len + (size_t)(*at - '0'); /* $<len>\r\n */
        at += 2;
        if (i == place) return (slice){at, len};
        at += len + 2;
    }
    return (slice){"", 0};
}

static void add_error(log_line *l, slice error) {
    size_t len = 0;
    while (len < error.len && error.data[len] != '\r' && error.data[len] != '\n') len++;
    log_line_text(l, "error", (slice){error.data, len});
}

static void add_what(log_line *l, const job_ending *e) {
    bool of_event = strcmp(e->kind, "MISS") == 0 || strcmp(e->kind, "EVENT") == 0;
    if (e->body->len == 0 || (!of_event && strcmp(e->kind, "HOOKED") != 0)) return;
    log_line_text(l, "registration", element(e->body, REGISTRATION_AT));
    if (of_event) log_line_text(l, "key", element(e->body, KEY_AT));
}

void job_log_ended(const job_ending *e, const job_result *result) {
    bool slow = settings.slow_ms > 0 && e->took_us / 1000 >= (unsigned long long)settings.slow_ms;
    bool error = says_error(result), expected = result->end == JOB_DONE && !error && !slow;
    const char *event = result->end == JOB_TIMED_OUT ? "job-timed-out" : result->end == JOB_FAILED ? "job-failed"
                        : error ? "job-error" : slow ? "job-slow" : "job-done";
    log_level level = result->end != JOB_DONE ? LEVEL_WARNING : expected ? LEVEL_DEBUG : LEVEL_NOTICE;
    if (!log_wants(level) || (!expected && !log_may())) return;
    log_line l;
    log_begin(&l, level, event, e->request);
    if (e->id != e->request) log_line_number(&l, "job", (long long)e->id);
    log_line_word(&l, "kind", e->kind);
    log_line_word(&l, "role", worker_name(e->role));
    log_line_number(&l, "us", (long long)e->took_us);
    if (result->end != JOB_DONE) add_error(&l, (slice){result->error, strlen(result->error)});
    else if (error) add_error(&l, (slice){result->done.parts[0].data + 1, result->done.parts[0].len - 1});
    add_what(&l, e);
    log_end(&l, level);
}

void job_log_refused(job_id request, const char *kind, const char *error) {
    if (!log_may()) return;
    log_line l;
    log_begin(&l, LEVEL_WARNING, "job-refused", request);
    log_line_word(&l, "kind", kind);
    add_error(&l, (slice){error, strlen(error)});
    log_end(&l, LEVEL_WARNING);
}
