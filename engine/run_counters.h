/* run_counters.h: what runs add up to, of a model or a script, as AI.INFO shows it. */
#ifndef KEYMISS_RUN_COUNTERS_H
#define KEYMISS_RUN_COUNTERS_H

typedef struct run_counters {
    long long duration_us, samples, calls, errors; /* samples: of models only */
} run_counters;

#endif
