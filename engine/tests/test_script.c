/* AI.SCRIPTSTORE and AI.SCRIPTSET as they are parsed, their limits, and a script as the models worker hears it. */
#include "../ai_args.c"
#include "../memory.c"
#include "../names.c"
#include "../redis_api.c"
#include "../resp.c"
#include "../script.c"
#include "../script_args.c"
#include "../sha256.c"
#include "../stored_values.c"
#include "../tensor.c"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

static void check(bool ok, const char *what) {
    if (ok) return;
    printf("failed: %s\n", what);
    failures++;
}

static slice text(const char *s) {
    return (slice){s, strlen(s)};
}

enum { MAX_WORDS = 16 };

/* The words of a command, which blanks separate. */
static size_t split(char *line, slice argv[MAX_WORDS]) {
    size_t argc = 0;
    for (char *word = strtok(line, " "); word != NULL && argc < MAX_WORDS; word = strtok(NULL, " "))
        argv[argc++] = text(word);
    return argc;
}

typedef const char *(*parser)(const slice *argv, size_t argc, script_args *out);

static bool is_error(parser parse, const char *command, const char *error) {
    char line[128];
    slice argv[MAX_WORDS];
    script_args parsed;
    snprintf(line, sizeof line, "%s", command);
    const char *got = parse(argv, split(line, argv), &parsed);
    return got != NULL && strcmp(got, error) == 0;
}

static void test_what_is_wrong_is_told(void) {
    static const char SOURCE_MISSING[] = "ERR Insufficient arguments, missing script SOURCE";
    static const char NAMES_MISSING[] = "ERR Insufficient arguments, missing script entry points";
    check(is_error(parse_scriptstore, "C k CPU ENTRY_POINTS 1 f SOURCE", ARGS_WRONG_ARITY), "a source is missing");
    check(is_error(parse_scriptstore, "C k CPU ENTRY_POINTS 1 f g SOURCE s", SOURCE_MISSING), "more than counted");
    check(is_error(parse_scriptstore, "C k CPU ENTRY_POINTS 9 f SOURCE s", NAMES_MISSING), "fewer than counted");
    check(is_error(parse_scriptstore, "C k CPU ENTRY_POINTS -1 f SOURCE s", NAMES_MISSING), "a negative count");
    check(is_error(parse_scriptstore, "C k CPU ENTRY_POINTS 9223372036854775807 f SOURCE s", NAMES_MISSING),
          "the largest count");
    check(is_error(parse_scriptstore, "C k CPU ENTRY_POINTS 1 f SOURCE s more", ARGS_WRONG_ARITY), "more behind it");
    check(is_error(parse_scriptstore, "C k CPU TAG t SOURCE s a b", NAMES_MISSING), "no entry points");
    check(is_error(parse_scriptstore, "C k XPU ENTRY_POINTS 1 f SOURCE s", "ERR unsupported device"), "the device");
    check(is_error(parse_scriptset, "C k CPU TAG t SOURCE", ARGS_WRONG_ARITY), "the older form without a source");
    check(is_error(parse_scriptset, "C k CPU FOO s", SOURCE_MISSING), "the older form with another word");
    check(is_error(parse_scriptset, "C k CPU SOURCE s a b", ARGS_WRONG_ARITY), "the older form with more behind it");
}

static void test_a_script_is_no_larger_than_its_limits(void) {
    char *source = malloc(SCRIPT_MAX_SOURCE_BYTES + 1);
    slice *argv = calloc(SCRIPT_MAX_ENTRY_POINTS + 8, sizeof *argv);
    script_args parsed;
    memset(source, '#', SCRIPT_MAX_SOURCE_BYTES + 1);
    slice set[] = {text("C"), text("k"), text("CPU"), text("SOURCE"), {source, SCRIPT_MAX_SOURCE_BYTES}};
    check(parse_scriptset(set, 5, &parsed) == NULL, "the largest source");
    set[4].len++;
    check(parse_scriptset(set, 5, &parsed) != NULL, "one byte more");

    for (int more = 0; more <= 1; more++) {
        char count[16];
        size_t n = (size_t)(SCRIPT_MAX_ENTRY_POINTS + more), argc = 5;
        snprintf(count, sizeof count, "%zu", n);
        argv[0] = text("C"), argv[1] = text("k"), argv[2] = text("CPU"), argv[3] = text("ENTRY_POINTS");
        argv[4] = text(count);
        for (size_t i = 0; i < n; i++) argv[argc++] = text("f");
        argv[argc++] = text("SOURCE");
        argv[argc++] = text("");
        check((parse_scriptstore(argv, argc, &parsed) == NULL) == (more == 0), "the number of entry points");
    }
    free(argv);
    free(source);
}

static void test_a_script_is_said_whole(void) {
    const slice names_given[] = {text("f"), text("g")};
    script_args args = {.device = text("cpu:1"),
                        .tag = text("t"),
                        .source = text("abc"),
                        .entry_points = names_given,
                        .entry_point_count = 2};
    static const char WANT[] = "$64\r\nba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\r\n"
                               "$5\r\ncpu:1\r\n$3\r\nabc\r\n$1\r\n2\r\n$1\r\nf\r\n$1\r\ng\r\n";
    script *s = script_new(&args), *held = script_hold(s), *other;
    frame_writer out;
    frame_init(&out);
    script_to_wire(s, &out);
    check(out.count == 6 && out.len == sizeof WANT - 1 && memcmp(out.data, WANT, out.len) == 0, "its elements");
    s->counters.calls = 5;
    other = script_copy(s);
    check(slice_is(script_tag(other), "t") && other->counters.calls == 0, "a copy starts with counters at 0");
    script_release(s);
    check(slice_is(script_source(held), "abc"), "it lives while it is held");
    script_release(held);
    script_release(other);
    frame_free(&out);
}

int main(void) {
    test_what_is_wrong_is_told();
    test_a_script_is_no_larger_than_its_limits();
    test_a_script_is_said_whole();
    return failures != 0;
}
