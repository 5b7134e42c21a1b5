#include "asker.h"

#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "worker.h"

bool asker_read(worker_role role, slice seq, asker *out) {
    long long n;
    if (!slice_number(seq, &n) || n < 0) return false;
    *out = (asker){role, worker_generation(role), (unsigned long long)n};
    return true;
}

static channel *asker_channel(asker a) {
    return worker_generation(a.role) == a.generation ? worker_channel(a.role) : NULL;
}

static slice text_slice(const char *text) {
    return (slice){text, strlen(text)};
}

/* A number as an element. */
typedef struct number_text {
    char digits[24];
} number_text;

static slice number_slice(number_text *t, unsigned long long n) {
    int len = snprintf(t->digits, sizeof(t->digits), "%llu", n);
    return (slice){t->digits, (size_t)len};
}

/* Instead of what is longer. The others are sent whatever waits: whoever changed something is to know that it was done. */
static const char does_not_fit[] = "-BUSY the reply does not fit the channel\r\n";

void asker_result(asker a, const char *reply, size_t len) {
    channel *c = asker_channel(a);
    if (!c) return;
    number_text seq;
    const slice parts[] = {{"RESULT", 6}, number_slice(&seq, a.seq), {reply, len}};
    if (channel_send_slices(c, parts, 3, len < sizeof(does_not_fit))) return;
    const slice refusal[] = {parts[0], parts[1], text_slice(does_not_fit)};
    channel_send_slices(c, refusal, 3, true);
}

void asker_result_ok(asker a) {
    asker_result(a, "+OK\r\n", 5);
}

/* An error as a RESP2 value. What a worker said may be in it, so line ends inside become blanks. */
typedef struct error_line {
    char text[512];
} error_line;

static slice error_slice(error_line *line, const char *error) {
    int len = snprintf(line->text, sizeof(line->text), "-%.500s\r\n", error);
    for (int i = 0; i < len - 2; i++) {
        if (line->text[i] == '\r' || line->text[i] == '\n') line->text[i] = ' ';
    }
    return (slice){line->text, (size_t)len};
}

void asker_result_error(asker a, const char *error) {
    error_line line;
    slice reply = error_slice(&line, error);
    asker_result(a, reply.data, reply.len);
}

void asker_outputs(asker a, slice reply, const slice *parts, size_t n) {
    channel *c = asker_channel(a);
    if (!c) return;
    number_text seq, count;
    slice *all = memory.alloc((4 + 3 * n) * sizeof(*all));
    all[0] = text_slice("OUTPUTS");
    all[1] = number_slice(&seq, a.seq);
    all[2] = reply;
    all[3] = number_slice(&count, n);
    if (n) memcpy(all + 4, parts, 3 * n * sizeof(*all));
    if (!channel_send_slices(c, all, 4 + 3 * n, false)) {
        all[2] = text_slice("-BUSY the outputs do not fit the channel\r\n");
        all[3] = text_slice("0");
        channel_send_slices(c, all, 4, true);
    }
    memory.free(all);
}

void asker_outputs_error(asker a, const char *error) {
    error_line line;
    asker_outputs(a, error_slice(&line, error), NULL, 0);
}
