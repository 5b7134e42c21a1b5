#include "script_args.h"

enum {
    SCRIPTSTORE_LEAST = 8, /* with one entry point and no tag */
    SCRIPTSET_PLAIN = 5,
    SCRIPTSET_TAGGED = 7
};

static const char NO_ENTRY_POINTS[] = "ERR Insufficient arguments, missing script entry points";

/* device [TAG tag] from *at on. */
static const char *take_head(const slice *argv, size_t argc, size_t *at, script_args *out) {
    out->device = argv[(*at)++];
    if (!model_device_is_known(out->device)) return "ERR unsupported device";
    if (*at + 1 < argc && args_take_word(argv, argc, at, "TAG")) out->tag = argv[(*at)++];
    return NULL;
}

/* SOURCE source, the last arguments. */
static const char *take_source(const slice *argv, size_t argc, size_t *at, script_args *out) {
    if (!args_take_word(argv, argc, at, "SOURCE") || *at == argc)
        return "ERR Insufficient arguments, missing script SOURCE";
    out->source = argv[(*at)++];
    return *at == argc ? script_check(out) : ARGS_WRONG_ARITY;
}

const char *script_check(const script_args *args) {
    if (!model_device_is_known(args->device)) return "ERR unsupported device";
    if (args->source.len > SCRIPT_MAX_SOURCE_BYTES) return "ERR the source of a script has at most 262144 bytes";
    if (args->entry_point_count > SCRIPT_MAX_ENTRY_POINTS) return "ERR a script has at most 1024 entry points";
    return NULL;
}

const char *parse_scriptstore(const slice *argv, size_t argc, script_args *out) {
    const char *error;
    size_t at = 2;
    long long n;
    *out = (script_args){.tag = {"", 0}};
    if (argc < SCRIPTSTORE_LEAST) return ARGS_WRONG_ARITY;
    if ((error = take_head(argv, argc, &at, out)) != NULL) return error;
    if (!args_take_word(argv, argc, &at, "ENTRY_POINTS") || at == argc) return NO_ENTRY_POINTS;
    if (!slice_number(argv[at], &n)) return "ERR Non numeric entry points number provided to AI.SCRIPTSTORE command";
    at++;
    if (n < 0 || (unsigned long long)n > argc - at) return NO_ENTRY_POINTS;
    out->entry_points = argv + at;
    out->entry_point_count = (size_t)n;
    at += (size_t)n;
    return take_source(argv, argc, &at, out);
}

const char *parse_scriptset(const slice *argv, size_t argc, script_args *out) {
    const char *error;
    size_t at = 2;
    *out = (script_args){.tag = {"", 0}};
    if (argc != SCRIPTSET_PLAIN && argc != SCRIPTSET_TAGGED) return ARGS_WRONG_ARITY;
    if ((error = take_head(argv, argc, &at, out)) != NULL) return error;
    return take_source(argv, argc, &at, out);
}
