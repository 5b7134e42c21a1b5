/* Pairs of names and values, whole and malformed, and which of them INFO may show. */
#include "../memory.c"
#include "../names.c"
#include "../pairs.c"
#include "../resp.c"

#include <stdio.h>

static int failures;

static void check(bool ok, const char *what) {
    if (ok) return;
    printf("failed: %s\n", what);
    failures++;
}

static slice text(const char *s) {
    return (slice){s, strlen(s)};
}

static bool take(size_t count, const char *const *texts, size_t *at, size_t max, names *into) {
    slice parts[16];
    for (size_t i = 0; i < count; i++) parts[i] = text(texts[i]);
    return pairs_take(parts, count, at, max, into);
}

#define TAKE(at, max, into, ...)                                                                                    \
    take(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__}, at, max, into)

static void test_pairs_behind_each_other(void) {
    names first = {NULL, 0}, second = {NULL, 0};
    size_t at = 0;
    check(TAKE(&at, 8, &first, "2", "a", "1", "b", "", "0") && at == 5, "two pairs are taken");
    check(first.count == 4 && slice_is(first.items[2], "b") && first.items[3].len == 0, "with their values");
    check(TAKE(&at, 8, &second, "2", "a", "1", "b", "", "0") && at == 6 && second.count == 0, "and none behind them");
    at = 0;
    check(TAKE(&at, 8, &first, "1", "c", "3") && first.count == 2 && slice_is(first.items[0], "c"), "the next are in their place");
    names_free(&first);
}

static void test_what_is_malformed_changes_nothing(void) {
    names kept = {NULL, 0};
    size_t at = 0;
    check(TAKE(&at, 8, &kept, "1", "a", "1"), "a good one");
    for (int i = 0; i < 7; i++) {
        at = i == 0 ? 3 : 0;
        bool taken = i == 0   ? TAKE(&at, 8, &kept, "1", "a", "1") /* nothing is left */
                     : i == 1 ? TAKE(&at, 8, &kept, "-1", "b", "2")
                     : i == 2 ? TAKE(&at, 8, &kept, "{\"b\": 2}", "0", "0")
                     : i == 3 ? TAKE(&at, 8, &kept, "2", "b", "2", "c")
                     : i == 4 ? TAKE(&at, 1, &kept, "2", "b", "2", "c", "3")
                     : i == 5 ? TAKE(&at, 8, &kept, "9223372036854775807", "b", "2")
                              : TAKE(&at, 8, &kept, "", "b", "2");
        check(!taken && at == (i == 0 ? 3U : 0U), "it is refused");
        check(kept.count == 2 && slice_is(kept.items[0], "a"), "what was there stays");
    }
    names_free(&kept);
}

static void test_fields_that_info_may_show(void) {
    static char longest[PAIR_VALUE_MAX + 1];
    memset(longest, 'x', sizeof longest);
    check(pair_is_field(text("tokens_run"), text("17")), "a number");
    check(pair_is_field(text("f0"), text("name=r\xc3\xa9ponse,runs=3")), "a text");
    check(pair_is_field(text("a"), text("")), "nothing");
    check(pair_is_field(text("a"), (slice){longest, PAIR_VALUE_MAX}), "the longest");
    check(!pair_is_field(text("a"), (slice){longest, PAIR_VALUE_MAX + 1}), "a longer one");
    check(pair_is_field((slice){longest, PAIR_NAME_MAX}, text("1")), "the longest name");
    check(!pair_is_field((slice){longest, PAIR_NAME_MAX + 1}, text("1")), "a longer name");
    static const char *const names_refused[] = {"", "Tokens", "_a", "9a", "a-b", "a b", "a:b", "a\r\nrole", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof names_refused / sizeof names_refused[0]; i++) {
        check(!pair_is_field(text(names_refused[i]), text("1")), "no name of a field");
    }
    check(!pair_is_field(text("a"), text("1\r\nrole:master")), "a line end");
    check(!pair_is_field(text("a"), (slice){"1\0", 2}), "a NUL byte");
    check(!pair_is_field(text("a"), text("\x7f")), "what does not print");
}

int main(void) {
    test_pairs_behind_each_other();
    test_what_is_malformed_changes_nothing();
    test_fields_that_info_may_show();
    return failures != 0;
}
