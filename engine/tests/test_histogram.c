/* Quantiles against sorted durations, and the ends of the range. */
#include "../histogram.c"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum { DURATIONS = 10000 };

static int failures;

static void check(int ok, const char *what) {
    if (ok) return;
    printf("failed: %s\n", what);
    failures++;
}

static int compare(const void *a, const void *b) {
    unsigned long long x = *(const unsigned long long *)a, y = *(const unsigned long long *)b;
    return x < y ? -1 : x > y;
}

static void test_quantiles_are_close(void) {
    static unsigned long long durations[DURATIONS];
    histogram h = {0};
    srand(1);
    for (int i = 0; i < DURATIONS; i++) {
        durations[i] = (unsigned long long)rand() % (1ULL << (1 + rand() % 30));
        histogram_add(&h, durations[i]);
    }
    qsort(durations, DURATIONS, sizeof(durations[0]), compare);
    static const double shares[] = {0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999};
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        unsigned long long exact = durations[(int)(shares[i] * DURATIONS)], got = histogram_quantile(&h, shares[i]);
        check(got >= exact && (double)got <= (double)exact * 1.25 + 1, "a quantile is at most a quarter too large");
    }
    check(h.count == DURATIONS && h.max_us == durations[DURATIONS - 1], "count and largest");
}

static void test_every_bucket_ends_before_the_next_begins(void) {
    for (unsigned long long us = 0; us < 1 << 20; us++) {
        size_t bucket = bucket_of(us);
        check(us <= bucket_end(bucket), "a duration is in its bucket");
        if (bucket_of(us + 1) != bucket) check(us == bucket_end(bucket), "a bucket ends where it says");
    }
}

static void test_durations_are_counted_within_the_bounds_that_they_meet(void) {
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        histogram h = {0};
        if (i > 0) check(histogram_bounds[i].us > histogram_bounds[i - 1].us, "bounds rise");
        histogram_add(&h, histogram_bounds[i].us);
        check(h.within[i] == 1, "what takes as long as a bound is within it");
        histogram_add(&h, histogram_bounds[i].us + 1ULL);
        check(h.within[i] == 1, "what takes longer is not");
        check(i + 1 == HISTOGRAM_BOUNDS || h.within[i + 1] == 1, "but within the next");
    }
    histogram h = {0};
    histogram_add(&h, 0);
    check(h.within[0] == 1, "nothing is within the first");
    histogram_add(&h, ULLONG_MAX);
    unsigned long long all = 0;
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) all += h.within[i];
    check(all == 1 && h.count == 2, "the longest is within none");
}

static void test_the_ends(void) {
    histogram h = {0};
    check(histogram_quantile(&h, 0.5) == 0, "nothing yet");
    histogram_add(&h, 0);
    check(histogram_quantile(&h, 0.5) == 0, "zero");
    histogram_add(&h, ULLONG_MAX);
    check(h.max_us == ULLONG_MAX, "the longest");
    check(histogram_quantile(&h, 1.0) == ULLONG_MAX, "all of them");
}

int main(void) {
    test_quantiles_are_close();
    test_every_bucket_ends_before_the_next_begins();
    test_durations_are_counted_within_the_bounds_that_they_meet();
    test_the_ends();
    printf(failures ? "%d failures\n" : "all as expected\n", failures);
    return failures != 0;
}
