/* histogram.h: a distribution of durations in microseconds: count, sum, largest; quantiles at most 25 % too large, from buckets
 * a quarter of an octave wide; and how many were within each of a few round bounds, exactly, to be added up over shards and
 * compared over time. Pure: knows nothing of the server. */
#ifndef KEYMISS_HISTOGRAM_H
#define KEYMISS_HISTOGRAM_H

enum { HISTOGRAM_BUCKETS = 160 }; /* up to 2^40 us, twelve days */

enum { HISTOGRAM_BOUNDS = 16 };
typedef struct histogram_bound {
    unsigned us;
    const char *text; /* with its unit */
} histogram_bound;
extern const histogram_bound histogram_bounds[HISTOGRAM_BOUNDS]; /* rising */

typedef struct histogram { /* zero to begin with */
    unsigned long long count, sum_us, max_us;
    unsigned long long buckets[HISTOGRAM_BUCKETS];
    unsigned long long within[HISTOGRAM_BOUNDS]; /* that bound, but not the one before it */
} histogram;

void histogram_add(histogram *h, unsigned long long us);
/* A duration that the share q (0 to 1) of all stays under; 0 when there are none. */
unsigned long long histogram_quantile(const histogram *h, double q);

#endif
