/* Parsing registrations and finding the commands that they hook. */
#include "../hooked_commands.c"
#include "../memory.c"
#include "../prefix.c"
#include "../registration.c"
#include "../resp.c"

#include <stdio.h>

static int failures;

static void check(bool ok, const char *what) {
    if (ok) return;
    printf("failed: %s\n", what);
    failures++;
}

static registration *parse(size_t count, const char *const *texts, const char **error) {
    slice parts[32];
    for (size_t i = 0; i < count; i++) parts[i] = (slice){texts[i], strlen(texts[i])};
    return registration_parse(parts, count, error);
}

#define PARSE(error, ...)                                                                                           \
    parse(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__}, error)

static void test_a_whole_registration(void) {
    const char *error;
    registration *r =
        PARSE(&error, "id-1", "blob", "keys", "async_local", "fv", "m*", "1", "KeyMiss", "2", "empty", "hash", "2", "GET", "mget");
    check(r && !error, "it is taken");
    if (!r) return;
    check(r->kind == REGISTRATION_KEYS && r->mode == MODE_ASYNC_LOCAL, "kind and mode");
    check(r->single_flight && r->wants_value && !r->paused, "flags");
    check(slice_is(r->id, "id-1") && slice_is(r->prefix, "m*"), "id and prefix");
    check(registration_wants_event(r, "keymiss", 7) && !registration_wants_event(r, "set", 3), "events in any case");
    check(registration_wants_type(r, "empty") && !registration_wants_type(r, "string"), "types");
    check(r->commands.count == 2 && name_list_has(&r->commands, "get", 3), "commands in any case");
    check(slice_is(r->parts[1], "blob") && r->parts_count == 14, "its parts are kept");
    registration_release(registration_hold(r));
    registration_release(r);
}

static void test_module_lists_the_types_of_all_modules(void) {
    const char *error;
    registration *r = PARSE(&error, "a", "", "keys", "sync", "", "*", "0", "1", "module", "0");
    check(r && registration_wants_type(r, "AI_TENSOR") && registration_wants_type(r, "ReJSON-RL"), "any module's");
    check(r && !registration_wants_type(r, "string") && !registration_wants_type(r, "empty"), "no other");
    registration_release(r);
}

static void test_nothing_listed_means_all(void) {
    const char *error;
    registration *r = PARSE(&error, "a", "", "keys", "sync", "", "*", "0", "0", "0");
    check(r && registration_wants_event(r, "set", 3) && registration_wants_event(r, "keymiss", 7), "every event of a key");
    check(r && registration_wants_type(r, "empty") && registration_wants_type(r, "zset"), "every type");
    registration_release(r);
    r = PARSE(&error, "a", "", "stream", "sync", "", "*", "0", "0", "0");
    check(r && registration_wants_event(r, "xadd", 4) && !registration_wants_event(r, "xtrim", 5), "what adds to a stream");
    check(r && registration_wants_type(r, "stream") && !registration_wants_type(r, "string"), "only streams");
    registration_release(r);
    r = PARSE(&error, "a", "", "trigger", "sync", "", "t", "0", "0", "0");
    check(r && !registration_wants_event(r, "set", 3), "a trigger wants no event");
    registration_release(r);
}

static void test_malformed_ones_are_refused(void) {
    const char *error;
    check(!PARSE(&error, "a", "", "keys") && error, "fields missing");
    check(!PARSE(&error, "", "", "keys", "sync", "", "*", "0", "0", "0") && error, "no id");
    check(!PARSE(&error, "a", "", "keyz", "sync", "", "*", "0", "0", "0") && error, "unknown kind");
    check(!PARSE(&error, "a", "", "keys", "now", "", "*", "0", "0", "0") && error, "unknown mode");
    check(!PARSE(&error, "a", "", "keys", "sync", "", "*", "0", "0") && error, "a count missing");
    check(!PARSE(&error, "a", "", "keys", "sync", "", "*", "-1", "0", "0") && error, "a negative count");
    check(!PARSE(&error, "a", "", "keys", "sync", "", "*", "0", "0", "9223372036854775807", "x") && error, "a huge count");
    check(!PARSE(&error, "a", "", "keys", "sync", "", "*", "0", "0", "2", "get") && error, "fewer than counted");
    check(!PARSE(&error, "a", "", "keys", "sync", "", "*", "0", "0", "1", "get", "x") && error, "more than counted");
    check(!PARSE(&error, "a", "", "keys", "sync", "", "*", "0", "0", "1", "") && error, "an empty name");
}

static int described;

static void describe(hooked_command *command) {
    described++;
    command->known = slice_is(command->name, "get");
}

static void test_commands_come_and_go_with_their_registrations(void) {
    const char *error;
    registration *one = PARSE(&error, "1", "", "keys", "sync", "", "a*", "0", "0", "3", "get", "mget", "get");
    registration *two = PARSE(&error, "2", "", "keys", "sync", "", "b*", "0", "0", "1", "GET");
    hooked_commands_add(one, describe);
    hooked_commands_add(two, describe);
    check(hooked_commands_count == 2 && described == 2, "each command once");
    hooked_command *get = hooked_commands_find("gEt", 3);
    check(get && get->registrations_count == 2 && get == hooked_commands_find("get", 3), "found in any case");
    check(prefix_table_matches(get->patterns, "a1", 2) && prefix_table_matches(get->patterns, "b1", 2), "both prefixes");
    check(!hooked_commands_find("set", 3) && !hooked_commands_find("", 0), "others are not found");
    hooked_commands_remove(one);
    registration_release(one);
    get = hooked_commands_find("get", 3);
    check(get && slice_is(get->name, "get") && !prefix_table_matches(get->patterns, "a1", 2), "one prefix is left");
    check(!hooked_commands_find("mget", 4) && hooked_commands_count == 1, "its other command is gone");
    hooked_commands_remove(two);
    registration_release(two);
    check(hooked_commands_count == 0 && !hooked_commands_find("get", 3), "nothing is left");
}

int main(void) {
    test_a_whole_registration();
    test_module_lists_the_types_of_all_modules();
    test_nothing_listed_means_all();
    test_malformed_ones_are_refused();
    test_commands_come_and_go_with_their_registrations();
    if (failures) printf("%d failures\n", failures);
    return failures != 0;
}
