/* histogram.h: a distribution of durations in microseconds: count, sum, largest and, from buckets a quarter of an octave wide,
 * quantiles at most 25 % too large. Pure: knows nothing of the server. */
#ifndef KEYMISS_HISTOGRAM_H
#define KEYMISS_HISTOGRAM_H

enum { HISTOGRAM_BUCKETS = 160 }; /* up to 2^40 us, twelve days */

typedef struct histogram { /* zero to begin with */
    unsigned long long count, sum_us, max_us;
    unsigned long long buckets[HISTOGRAM_BUCKETS];
} histogram;

void histogram_add(histogram *h, unsigned long long us);
/* A duration that the share q (0 to 1) of all stays under; 0 when there are none. */
unsigned long long histogram_quantile(const histogram *h, double q);

#endif
