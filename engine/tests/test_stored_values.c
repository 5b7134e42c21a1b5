/* What values take is told whoever holds the lists: a thread that crashed never gives them back. */
#include "../memory.c"
#include "../names.c"
#include "../redis_api.c"
#include "../resp.c"
#include "../stored_values.c"

#include <stdio.h>

static int failures;

static void check(bool ok, const char *what) {
    if (ok) return;
    printf("failed: %s\n", what);
    failures++;
}

static void check_totals(stored_values *all, long long count, long long bytes, const char *what) {
    long long counted, counted_bytes;
    stored_values_totals(all, &counted, &counted_bytes);
    check(counted == count && counted_bytes == bytes, what);
}

int main(void) {
    static stored_values all;
    stored_value one, other;
    int values[2];
    stored_values_add(&all, &one, &values[0], 10, 0, NULL);
    stored_values_add(&all, &other, &values[1], 5, 0, NULL);
    pthread_mutex_lock(&guard);
    check_totals(&all, 2, 15, "both, while another thread has the lists");
    pthread_mutex_unlock(&guard);
    stored_values_remove(&all, &one);
    check_totals(&all, 1, 5, "the one that is left");
    stored_values_remove(&all, &other);
    check_totals(&all, 0, 0, "none");
    stored_value_clear(&one);
    stored_value_clear(&other);
    return failures == 0 ? 0 : 1;
}
