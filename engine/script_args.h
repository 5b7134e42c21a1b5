/* script_args.h: the arguments of AI.SCRIPTSTORE and AI.SCRIPTSET, as ai_args.h does it. Pure. */
#ifndef KEYMISS_SCRIPT_ARGS_H
#define KEYMISS_SCRIPT_ARGS_H

#include "ai_args.h"

enum {
    SCRIPT_MAX_SOURCE_BYTES = 256 * 1024, /* as the models worker has it; goes with every job that runs the script */
    SCRIPT_MAX_ENTRY_POINTS = 1024
};

/* AI.SCRIPTSTORE key device [TAG tag] ENTRY_POINTS n name ... SOURCE source, and AI.SCRIPTSET key device [TAG tag]
 * SOURCE source, which has no entry points. */
typedef struct script_args {
    slice device, tag, source;
    const slice *entry_points;
    size_t entry_point_count;
} script_args;
const char *parse_scriptstore(const slice *argv, size_t argc, script_args *out);
const char *parse_scriptset(const slice *argv, size_t argc, script_args *out);

/* NULL, or why there can be no such script, however it came: its device or its size. */
const char *script_check(const script_args *args);

#endif
