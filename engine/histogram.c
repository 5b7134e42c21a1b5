/* histogram.c: see histogram.h. */
#include "histogram.h"

#include <stddef.h>

enum { BUCKETS_PER_OCTAVE = 4 };

/* Bucket 4 * k + f holds [2^k * (1 + f / 4), 2^k * (1 + (f + 1) / 4)) us; under 4 us each microsecond has its own, and 4 to 7 stay
 * empty. */
static size_t bucket_of(unsigned long long us) {
    if (us < BUCKETS_PER_OCTAVE) return (size_t)us;
    unsigned octave = 63 - (unsigned)__builtin_clzll(us);
    size_t bucket = BUCKETS_PER_OCTAVE * octave + (size_t)(us >> (octave - 2)) - BUCKETS_PER_OCTAVE;
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/* The largest duration of a bucket. */
static unsigned long long bucket_end(size_t bucket) {
    if (bucket < 2 * BUCKETS_PER_OCTAVE) return bucket < BUCKETS_PER_OCTAVE ? bucket : BUCKETS_PER_OCTAVE;
    unsigned octave = (unsigned)(bucket / BUCKETS_PER_OCTAVE);
    unsigned long long part = bucket % BUCKETS_PER_OCTAVE;
    return ((part + BUCKETS_PER_OCTAVE + 1) << (octave - 2)) - 1;
}

void histogram_add(histogram *h, unsigned long long us) {
    h->count++;
    h->sum_us += us;
    if (us > h->max_us) h->max_us = us;
    h->buckets[bucket_of(us)]++;
}

unsigned long long histogram_quantile(const histogram *h, double q) {
    unsigned long long wanted = (unsigned long long)(q * (double)h->count), seen = 0;
    if (h->count == 0) return 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen > wanted) return bucket_end(i) < h->max_us ? bucket_end(i) : h->max_us;
    }
    return h->max_us;
}
