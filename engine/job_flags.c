#include "job_flags.h"

#include <stdio.h>

#include "role.h"

void job_flags_add(frame_writer *w, int context_flags, bool sync, bool traced, unsigned long long number) {
    char letters[32];
    size_t n = 0;
    if (sync) letters[n++] = 's';
    if (job_flags_deny_blocking(context_flags)) letters[n++] = 'm';
    if (role_is_read_only_replica(context_flags)) letters[n++] = 'r';
    if (context_flags & REDISMODULE_CTX_FLAGS_RESP3) letters[n++] = 't';
    if (traced) letters[n++] = 'c';
    if (number) n += (size_t)snprintf(letters + n, sizeof letters - n, "%llu", number);
    frame_add(w, letters, n);
}

bool job_flags_deny_blocking(int context_flags) {
    return context_flags & (REDISMODULE_CTX_FLAGS_MULTI | REDISMODULE_CTX_FLAGS_LUA | REDISMODULE_CTX_FLAGS_DENY_BLOCKING);
}
