/* Any bytes as the arguments of AI.SCRIPTSTORE and AI.SCRIPTSET: what is parsed lies inside them, and can be stored and
 * said to the models worker. */
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

#include "fuzz_arguments.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const GRAMMAR[] = {
    "k", "CPU", "GPU:0", "TAG", "ENTRY_POINTS", "SOURCE", "0", "1", "2", "-1", "9223372036854775807", "1025", "f", "",
};
enum { GRAMMAR_WORDS = sizeof GRAMMAR / sizeof *GRAMMAR };

static bool is_argument(slice s, const slice *argv, size_t argc) {
    for (size_t i = 0; i < argc; i++) {
        if (s.data == argv[i].data && s.len == argv[i].len) return true;
    }
    return false;
}

static void check_parsed(const script_args *args, const slice *argv, size_t argc) {
    size_t count = args->entry_point_count;
    check(is_argument(args->device, argv, argc) && is_argument(args->source, argv, argc));
    check(args->tag.len == 0 || is_argument(args->tag, argv, argc));
    check(count == 0 || (args->entry_points >= argv && count <= argc && args->entry_points + count <= argv + argc));
    check(script_check(args) == NULL);

    script *s = script_new(args), *other = script_copy(s);
    frame_writer one, two;
    frame_init(&one);
    frame_init(&two);
    script_to_wire(s, &one);
    script_to_wire(other, &two);
    check(one.count == 4 + count && one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
    frame_free(&one);
    frame_free(&two);
    script_release(s);
    script_release(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    slice argv[MAX_ARGUMENTS];
    script_args parsed;
    size_t argc = cut_arguments(data, size, GRAMMAR, GRAMMAR_WORDS, argv);
    if (parse_scriptstore(argv, argc, &parsed) == NULL) check_parsed(&parsed, argv, argc);
    if (parse_scriptset(argv, argc, &parsed) == NULL) {
        check(parsed.entry_point_count == 0);
        check_parsed(&parsed, argv, argc);
    }
    return 0;
}
