/* errors.c: see errors.h. */
#include "errors.h"

#include <stdio.h>
#include <string.h>

#include "info.h"

static unsigned long long counts[ERROR_KINDS];

void errors_count(error_kind kind) {
    counts[kind]++;
}

error_kind error_kind_of(slice error, error_kind otherwise) {
    return error.len >= 5 && memcmp(error.data, "BUSY ", 5) == 0 ? ERROR_BUSY : otherwise;
}

error_kind error_kind_refused(const char *error) {
    return error_kind_of((slice){error, strlen(error)}, ERROR_NONE);
}

static void write_info(RedisModuleInfoCtx *ctx) {
    static const char *const names[ERROR_KINDS] = {
        [ERROR_BUSY] = "busy",         [ERROR_TIMEOUT] = "timeout", [ERROR_WORKER] = "worker",
        [ERROR_FUNCTION] = "function", [ERROR_MODEL] = "model",
    };
    char field[32];
    for (int kind = ERROR_NONE + 1; kind < ERROR_KINDS; kind++) {
        snprintf(field, sizeof(field), "errors_%s", names[kind]);
        RedisModule_InfoAddFieldULongLong(ctx, field, counts[kind]);
    }
}

void errors_init(void) {
    info_section("errors", write_info);
}
