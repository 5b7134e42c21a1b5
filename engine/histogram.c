/* histogram.c: see histogram.h. */
#include "histogram.h"

#include <stddef.h>

enum { BUCKETS_PER_OCTAVE = 4 };

const histogram_bound histogram_bounds[HISTOGRAM_BOUNDS] = {
    {50, "50us"},      {100, "100us"},    {250, "250us"},     {500, "500us"},
    {1000, "1ms"},     {2500, "2.5ms"},   {5000, "5ms"},      {10000, "10ms"},
    {25000, "25ms"},   {50000, "50ms"},   {100000, "100ms"},  {250000, "250ms"},
    {500000, "500ms"}, {1000000, "1s"},   {2500000, "2.5s"},  {10000000, "10s"},
};

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

/* The first bound that is not less; HISTOGRAM_BOUNDS where all are. */
static size_t bound_of(unsigned long long us) {
    size_t low = 0;
    for (size_t step = HISTOGRAM_BOUNDS / 2; step > 0; step /= 2) {
        if (histogram_bounds[low + step - 1].us < us) low += step;
    }
    return low + (histogram_bounds[low].us < us);
}

void histogram_add(histogram *h, unsigned long long us) {
    h->count++;
    h->sum_us += us;
    if (us > h->max_us) h->max_us = us;
    h->buckets[bucket_of(us)]++;
    size_t bound = bound_of(us);
    if (bound < HISTOGRAM_BOUNDS) h->within[bound]++;
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
