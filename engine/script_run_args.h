/* script_run_args.h: the arguments of AI.SCRIPTEXECUTE and AI.SCRIPTRUN, as ai_args.h does it. Pure. */
#ifndef KEYMISS_SCRIPT_RUN_ARGS_H
#define KEYMISS_SCRIPT_RUN_ARGS_H

#include "ai_args.h"

enum { SCRIPT_NO_LIST = -1 };

/* AI.SCRIPTEXECUTE key function [KEYS n key ...] [INPUTS n input ...] [ARGS n arg ...] [OUTPUTS n output ...]
 * [TIMEOUT ms], KEYS or INPUTS first, and AI.SCRIPTRUN key function [TIMEOUT ms] [INPUTS input ... [$ input ...]]
 * [OUTPUTS output ...]. The positions in argv, also after an error as far as they were found. */
typedef struct script_run_args {
    slice function;
    size_t first_key, key_count, first_input, input_count, first_arg, arg_count, first_output, output_count;
    long list_at; /* how many inputs stand before the $, which is not counted as one; SCRIPT_NO_LIST: there is none */
    long long timeout_ms; /* 0: not given */
    slice unexpected;     /* if not empty, what the error is about, which it then ends with */
} script_run_args;
const char *parse_scriptexecute(const slice *argv, size_t argc, script_run_args *out);
const char *parse_scriptrun(const slice *argv, size_t argc, script_run_args *out);

/* Where in argv input i stands. */
size_t script_run_input(const script_run_args *args, size_t i);

#endif
