#include "script_run_args.h"

enum { FIRST_SCOPE = 3 }; /* after the command, the key and the function */

size_t script_run_input(const script_run_args *args, size_t i) {
    bool behind_list = args->list_at != SCRIPT_NO_LIST && i >= (size_t)args->list_at;
    return args->first_input + i + (behind_list ? 1 : 0);
}

/* A part of AI.SCRIPTEXECUTE that is a number and so many arguments. */
typedef struct scope {
    const char *word;
    const char *no_count, *bad_count, *too_many, *twice;
    long long least;
    size_t *first, *count;
    bool seen;
} scope;

static const char *take_scope(const slice *argv, size_t argc, size_t *at, scope *s) {
    long long n;
    if (s->seen) return s->twice;
    s->seen = true;
    if (++*at >= argc) return s->no_count;
    if (!slice_number(argv[*at], &n) || n < s->least) return s->bad_count;
    if ((unsigned long long)n > argc - ++*at) return s->too_many;
    *s->first = *at;
    *s->count = (size_t)n;
    *at += (size_t)n;
    return NULL;
}

const char *parse_scriptexecute(const slice *argv, size_t argc, script_run_args *out) {
    static const char NO_COUNT[] = "ERR Invalid arguments provided to AI.SCRIPTEXECUTE";
    enum { KEYS, INPUTS, ARGS, OUTPUTS, SCOPES };
    scope scopes[SCOPES] = {
        [KEYS] = {"KEYS", "ERR Missing arguments after KEYS keyword",
                  "ERR Invalid or negative value found in number of KEYS",
                  "ERR Number of pre declared KEYS to be used in the command does not match the number of given "
                  "arguments",
                  "ERR Already Encountered KEYS scope in AI.SCRIPTEXECUTE command", 1, &out->first_key,
                  &out->key_count, false},
        [INPUTS] = {"INPUTS", NO_COUNT, "ERR Invalid argument for inputs count in AI.SCRIPTEXECUTE",
                    "ERR number of inputs to AI.SCRIPTEXECUTE command does not match the number of given arguments",
                    "ERR Already Encountered INPUTS scope in AI.SCRIPTEXECUTE command", 0, &out->first_input,
                    &out->input_count, false},
        [ARGS] = {"ARGS", NO_COUNT, "ERR Invalid argument for keys count in AI.SCRIPTEXECUTE",
                  "ERR number of args to AI.SCRIPTEXECUTE command does not match the number of given arguments",
                  "ERR Already Encountered ARGS scope in AI.SCRIPTEXECUTE command", 0, &out->first_arg,
                  &out->arg_count, false},
        [OUTPUTS] = {"OUTPUTS", NO_COUNT, "ERR Invalid argument for outputs count in AI.SCRIPTEXECUTE",
                     "ERR number of outputs to AI.SCRIPTEXECUTE command does not match the number of given arguments",
                     "ERR Already Encountered OUTPUTS scope in AI.SCRIPTEXECUTE command", 0, &out->first_output,
                     &out->output_count, false},
    };
    size_t at = FIRST_SCOPE;
    *out = (script_run_args){.list_at = SCRIPT_NO_LIST};
    if (argc < FIRST_SCOPE) return "ERR wrong number of arguments for 'AI.SCRIPTEXECUTE' command";
    out->function = argv[2];
    if (argc == FIRST_SCOPE || !(slice_is_word(argv[at], "KEYS") || slice_is_word(argv[at], "INPUTS")))
        return "ERR KEYS or INPUTS scope must be provided first for AI.SCRIPTEXECUTE command";
    while (at < argc) {
        const char *error;
        size_t i = 0;
        if (args_take_word(argv, argc, &at, "TIMEOUT")) {
            error = parse_timeout(argv, argc, &at, "ERR No value provided for TIMEOUT in AI.SCRIPTEXECUTE",
                                  &out->timeout_ms);
            if (error == NULL && at < argc) error = "ERR Encountered problem parsing AI.SCRIPTEXECUTE";
            return error;
        }
        while (i < SCOPES && !slice_is_word(argv[at], scopes[i].word)) i++;
        if (i == SCOPES) {
            out->unexpected = argv[at];
            return "ERR Invalid AI.SCRIPTEXECUTE command. Unexpected argument: ";
        }
        if ((error = take_scope(argv, argc, &at, &scopes[i])) != NULL) return error;
    }
    return NULL;
}

const char *parse_scriptrun(const slice *argv, size_t argc, script_run_args *out) {
    const char *error;
    size_t at = FIRST_SCOPE;
    *out = (script_run_args){.list_at = SCRIPT_NO_LIST};
    if (argc < FIRST_SCOPE + 1) return "ERR wrong number of arguments for 'AI.SCRIPTRUN' command";
    out->function = argv[2];
    if (args_take_word(argv, argc, &at, "TIMEOUT")) {
        error = parse_timeout(argv, argc, &at, "ERR No value provided for TIMEOUT", &out->timeout_ms);
        if (error != NULL) return error;
    }
    if (args_take_word(argv, argc, &at, "INPUTS")) {
        out->first_input = at;
        for (; at < argc && !slice_is_word(argv[at], "OUTPUTS"); at++) {
            if (!slice_is(argv[at], "$")) out->input_count++;
            else if (out->list_at == SCRIPT_NO_LIST) out->list_at = (long)out->input_count;
            else return "ERR Already encountered a variable size list of tensors";
        }
    } else if (at >= argc || !slice_is_word(argv[at], "OUTPUTS")) {
        return "ERR INPUTS not specified";
    }
    if (at == argc) return NULL;
    out->first_output = ++at;
    for (; at < argc; at++, out->output_count++) {
        if (slice_is(argv[at], "$")) return "ERR Encountered a variable size list of tensors outside of input section";
    }
    return NULL;
}
