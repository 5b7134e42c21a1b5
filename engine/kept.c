/* kept.c
 *
 * One blob, opaque to the server: the last that a worker gave. It lives as long as the server's process: it is neither
 * saved nor replicated, as what CONFIG SET changes. */
#include "kept.h"

#include "log.h"
#include "memory.h"
#include "worker.h"

#include <string.h>

enum { KEPT_MAX_BYTES = 2 << 20 }; /* a worker gives less (config.py) */

static char *kept; /* NULL: nothing yet */
static size_t kept_len;

/* KEEP <blob> */
static void on_keep(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    (void)ctx;
    slice blob = f->parts[1];
    if (blob.len > KEPT_MAX_BYTES) {
        worker_fail(role, "it wants the server to keep more than there is room for");
        return;
    }
    char *copy = memory.alloc(blob.len + 1);
    if (blob.len > 0) memcpy(copy, blob.data, blob.len);
    memory.free(kept);
    kept = copy;
    kept_len = blob.len;
}

/* KEPT <blob> */
static void give_back(RedisModuleCtx *ctx, worker_role role) {
    (void)ctx;
    if (!kept) return;
    frame_writer f;
    frame_init(&f);
    frame_add_text(&f, "KEPT");
    frame_add(&f, kept, kept_len);
    if (!worker_tell(role, &f)) {
        log_note(LEVEL_WARNING,
                 "what RG.CONFIGSET set is longer than keymiss.max-frame-bytes: the functions worker does without it");
    }
    frame_free(&f);
}

int kept_init(RedisModuleCtx *ctx) {
    (void)ctx;
    worker_on_verb(WORKER_FUNCTIONS, "KEEP", 2, on_keep);
    worker_on_ready(WORKER_FUNCTIONS, give_back);
    return REDISMODULE_OK;
}
