/* One line, and JSON that is JSON, whatever the values hold. */
#include "../log_line.c"

#include <stdio.h>

static int failures;

static slice text(const char *value) {
    return (slice){value, strlen(value)};
}

static void check(const log_line *l, const char *expected, const char *what) {
    if (strcmp(l->text, expected) == 0) return;
    printf("failed: %s: %s\n", what, l->text);
    failures++;
}

static void line(log_line *l, bool json, slice value) {
    log_line_begin(l, json, "event");
    log_line_text(l, "value", value);
    log_line_number(l, "n", -5);
    log_line_end(l);
}

static void test_values_are_quoted_where_they_must_be(void) {
    log_line l;
    line(&l, false, text("plain-1.5"));
    check(&l, "event value=plain-1.5 n=-5", "plain");
    line(&l, false, text("two words"));
    check(&l, "event value=\"two words\" n=-5", "a space");
    line(&l, false, text(""));
    check(&l, "event value=\"\" n=-5", "empty");
    line(&l, false, text("a=\"b\"\\\n\x01"));
    check(&l, "event value=\"a=\\\"b\\\"\\\\\\n\\u0001\" n=-5", "escapes");
    line(&l, true, text("plain"));
    check(&l, "{\"value\":\"plain\",\"n\":-5}", "JSON");
    line(&l, true, text("\xc3\xa9\xff\xc3"));
    check(&l, "{\"value\":\"\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\",\"n\":-5}", "UTF-8, and what is none");
    line(&l, true, text("\xed\xa0\x80"));
    check(&l, "{\"value\":\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\",\"n\":-5}", "half of a surrogate pair");
}

static void test_a_character_is_not_cut(void) {
    log_line l;
    char value[LOG_VALUE_MAX + 2], expected[LOG_VALUE_MAX + 64];
    memset(value, 'x', sizeof(value));
    memcpy(value + LOG_VALUE_MAX - 1, "\xc3\xa9", 2);
    line(&l, true, (slice){value, LOG_VALUE_MAX + 1});
    snprintf(expected, sizeof(expected), "{\"value\":\"%.*s\",\"n\":-5}", LOG_VALUE_MAX - 1, value);
    check(&l, expected, "the end of a long value");
}

static void test_what_does_not_fit_is_left_out_whole(void) {
    log_line l;
    char value[LOG_VALUE_MAX];
    memset(value, '\1', sizeof(value)); /* six bytes each */
    log_line_begin(&l, true, "event");
    log_line_text(&l, "value", (slice){value, sizeof(value)});
    log_line_number(&l, "n", 1);
    log_line_end(&l);
    check(&l, "{\"n\":1}", "a value that is too long");
    memset(value, 'x', sizeof(value));
    log_line_begin(&l, true, "event");
    for (int i = 0; i < 10; i++) log_line_text(&l, "value", (slice){value, sizeof(value)});
    log_line_end(&l);
    if (l.len > LOG_LINE_MAX || l.text[l.len - 1] != '}' || l.text[l.len - 2] != '"') {
        printf("failed: many long values\n");
        failures++;
    }
}

int main(void) {
    test_values_are_quoted_where_they_must_be();
    test_a_character_is_not_cut();
    test_what_does_not_fit_is_left_out_whole();
    printf(failures ? "%d failures\n" : "all as expected\n", failures);
    return failures != 0;
}
