#include "run_counters.h"

bool run_counters_read(const slice *parts, run_counters *out) {
    long long *const fields[RUN_COUNTER_PARTS] = {&out->duration_us, &out->calls, &out->samples, &out->errors};
    for (int i = 0; i < RUN_COUNTER_PARTS; i++) {
        if (!slice_number(parts[i], fields[i]) || *fields[i] < 0) return false;
    }
    return true;
}

void run_counters_add(run_counters *to, const run_counters *more) {
    to->duration_us += more->duration_us;
    to->calls += more->calls;
    to->samples += more->samples;
    to->errors += more->errors;
}

bool run_reply_is_whole(slice reply) {
    return reply.len > 0 && resp_value_length(reply.data, reply.len) == reply.len;
}

bool run_reply_is_error(slice reply) {
    return reply.data[0] == '-';
}
