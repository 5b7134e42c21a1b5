/* script.h: a script: its source, what it says about itself, and its counters.
 *
 * 1. A script is made once; a key and the jobs that run it hold it, so it lives on while they do. Nothing but its
 *    counters changes afterwards, and they on the main thread.
 * 2. COPY and RESTORE make another script with the same source and counters at 0.
 * 3. The server may free a key's value in its lazy-free thread: the count of references is atomic, and where the
 *    script is stored belongs to stored_values.c, which guards it. */
#ifndef KEYMISS_SCRIPT_H
#define KEYMISS_SCRIPT_H

#include <stdatomic.h>

#include "names.h"
#include "run_counters.h"
#include "script_args.h"
#include "sha256.h"
#include "stored_values.h"

typedef struct script {
    atomic_uint refs;
    names words;        /* device, tag and source, as they were given */
    names entry_points; /* none: made by AI.SCRIPTSET, then every function of the source is one */
    char digest[SHA256_HEX_CHARS + 1]; /* of the source */
    run_counters counters;
    stored_value stored;
} script;

/* From a command's arguments. */
script *script_new(const script_args *args);
/* Another one that says the same, for COPY. */
script *script_copy(const script *s);
slice script_device(const script *s);
slice script_tag(const script *s);
slice script_source(const script *s);
size_t script_bytes(const script *s); /* on the heap */
script *script_hold(script *s); /* returns s */
void script_release(script *s); /* NULL is fine */

/* The elements of a frame that say which script; see docs/channel.md. */
void script_to_wire(const script *s, frame_writer *out);

#endif
