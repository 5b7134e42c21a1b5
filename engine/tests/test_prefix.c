/* Patterns against a naive matcher: what is found, in which order, and that taking out undoes putting in. */
#include "../memory.c"
#include "../prefix.c"

#include <stdint.h>
#include <stdio.h>

enum { PATTERNS = 400, KEYS = 4000, LONGEST = 9 };

static int failures;

static void check(bool ok, const char *what) {
    if (ok) return;
    printf("failed: %s\n", what);
    failures++;
}

typedef struct found {
    const char *patterns[PATTERNS];
    size_t count;
} found;

static void note(void *value, void *arg) {
    found *f = arg;
    f->patterns[f->count++] = value;
}

static bool naive_match(const char *pattern, const char *key, size_t key_len) {
    size_t len = strlen(pattern);
    if (len == 0) return false;
    if (pattern[len - 1] == '*') return key_len >= len - 1 && memcmp(pattern, key, len - 1) == 0;
    return key_len == len && memcmp(pattern, key, len) == 0;
}

static bool matches(const prefix_table *t, const char *key) {
    return prefix_table_matches(t, key, strlen(key));
}

static void test_what_matches_what(void) {
    prefix_table *t = prefix_table_new();
    check(!matches(t, "") && !matches(t, "a"), "an empty table matches nothing");
    prefix_table_add(t, "", 0, "empty");
    check(!matches(t, "") && !matches(t, "a"), "the empty pattern matches nothing");
    prefix_table_add(t, "key:1", 5, "exact");
    check(matches(t, "key:1") && !matches(t, "key:12") && !matches(t, "key:") && !matches(t, "key"), "a whole key");
    prefix_table_add(t, "cache:*", 7, "prefix");
    check(matches(t, "cache:") && matches(t, "cache:1:2") && !matches(t, "cache"), "a prefix");
    prefix_table_add(t, "a*b?[c]", 7, "literal");
    check(matches(t, "a*b?[c]") && !matches(t, "axbyc"), "only the last star is special");
    prefix_table_add(t, "k**", 3, "two stars");
    check(matches(t, "k*x") && matches(t, "k*") && !matches(t, "kx"), "of two stars the first is a byte");
    prefix_table_add(t, "\0\xff*", 3, "binary");
    check(prefix_table_matches(t, "\0\xff\0", 3) && !prefix_table_matches(t, "\0", 1), "bytes are bytes");
    prefix_table_add(t, "*", 1, "all");
    check(matches(t, "") && matches(t, "anything"), "a star alone matches every key");
    check(prefix_table_remove(t, "*", 1, "all") && !matches(t, "anything"), "and no more when it is gone");
    prefix_table_free(t);
}

static void test_found_in_order_of_length_then_of_adding(void) {
    prefix_table *t = prefix_table_new();
    char first[] = "first", second[] = "second", all[] = "all", whole[] = "whole";
    prefix_table_add(t, "abc", 3, whole);
    prefix_table_add(t, "ab*", 3, first);
    prefix_table_add(t, "ab*", 3, second);
    prefix_table_add(t, "*", 1, all);
    found f = {.count = 0};
    prefix_table_find(t, "abc", 3, note, &f);
    check(f.count == 4 && f.patterns[0] == all && f.patterns[1] == first && f.patterns[2] == second &&
              f.patterns[3] == whole,
          "shorter patterns first, equal ones as added");
    check(!prefix_table_remove(t, "ab*", 3, whole) && !prefix_table_remove(t, "ab", 2, first) &&
              !prefix_table_remove(t, "abcd", 4, whole) && !prefix_table_remove(t, "", 0, all),
          "only what is there is taken out");
    prefix_table_free(t);
}

static uint32_t random_state = 12345;

static uint32_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

/* Two letters and stars, so that patterns nest, split and join all the time. */
static size_t random_text(char *out, const char *letters) {
    size_t len = next_random() % LONGEST;
    for (size_t i = 0; i < len; i++) out[i] = letters[next_random() % strlen(letters)];
    out[len] = '\0';
    return len;
}

static void check_against_naive(const prefix_table *t, char patterns[][LONGEST + 1], const bool *present) {
    for (int i = 0; i < KEYS; i++) {
        char key[LONGEST + 1];
        size_t len = random_text(key, "ab*");
        size_t want = 0;
        for (int p = 0; p < PATTERNS; p++) want += present[p] && naive_match(patterns[p], key, len);
        found f = {.count = 0};
        prefix_table_find(t, key, len, note, &f);
        check(f.count == want, "as many found as the naive matcher finds");
        for (int p = 0; p < PATTERNS; p++) {
            bool one = prefix_matches(patterns[p], strlen(patterns[p]), key, len);
            check(one == naive_match(patterns[p], key, len), "one pattern agrees with the naive matcher");
        }
        for (size_t j = 0; j < f.count; j++) check(naive_match(f.patterns[j], key, len), "what is found matches");
        check(prefix_table_matches(t, key, len) == (want > 0), "matches agrees with find");
    }
}

static void test_random_patterns_agree_with_a_naive_matcher(void) {
    static char patterns[PATTERNS][LONGEST + 1];
    static bool present[PATTERNS];
    prefix_table *t = prefix_table_new();
    for (int p = 0; p < PATTERNS; p++) {
        size_t len = random_text(patterns[p], "ab*");
        prefix_table_add(t, patterns[p], len, patterns[p]);
        present[p] = true;
    }
    check_against_naive(t, patterns, present);
    for (int left = PATTERNS; left > 0; left--) {
        uint32_t p = next_random() % PATTERNS;
        while (!present[p]) p = (p + 1) % PATTERNS;
        size_t len = strlen(patterns[p]);
        check(prefix_table_remove(t, patterns[p], len, patterns[p]) == (len > 0), "each is taken out once");
        check(!prefix_table_remove(t, patterns[p], len, patterns[p]), "and not twice");
        present[p] = false;
        if (left % 100 == 50) check_against_naive(t, patterns, present);
    }
    check(t->root.child_count == 0 && t->root.any.count == 0, "an emptied table holds no nodes");
    prefix_table_free(t);
}

int main(void) {
    test_what_matches_what();
    test_found_in_order_of_length_then_of_adding();
    test_random_patterns_agree_with_a_naive_matcher();
    if (failures) printf("%d failures\n", failures);
    return failures != 0;
}
