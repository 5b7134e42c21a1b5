/* run_counters.h: what runs add up to, of a model or a script, as AI.INFO shows it; and what an answer says of one.
 * Pure. */
#ifndef KEYMISS_RUN_COUNTERS_H
#define KEYMISS_RUN_COUNTERS_H

#include "resp.h"

typedef struct run_counters {
    long long duration_us, samples, calls, errors; /* samples: of models only */
} run_counters;

/* <duration_us> <calls> <samples> <errors>, as an answer says them. False if one is no number of 0 or more. */
enum { RUN_COUNTER_PARTS = 4 };
bool run_counters_read(const slice *parts, run_counters *out);
void run_counters_add(run_counters *to, const run_counters *more);

/* The reply of a run: is it one whole value? Is that an error? */
bool run_reply_is_whole(slice reply);
bool run_reply_is_error(slice reply);

#endif
