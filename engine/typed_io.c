#include "typed_io.h"

#include <string.h>

#include "memory.h"

void save_slice(RedisModuleIO *rdb, slice s) {
    RedisModule_SaveStringBuffer(rdb, s.data, s.len);
}

void save_names(RedisModuleIO *rdb, const names *n) {
    RedisModule_SaveUnsigned(rdb, n->count);
    for (size_t i = 0; i < n->count; i++) save_slice(rdb, n->items[i]);
}

slice load_slice(RedisModuleIO *rdb) {
    slice s = {NULL, 0};
    s.data = RedisModule_LoadStringBuffer(rdb, &s.len);
    return s;
}

void loaded_slice_free(slice s) {
    RedisModule_Free((char *)s.data);
}

bool load_names(RedisModuleIO *rdb, slice **out, size_t *count) {
    uint64_t told = RedisModule_LoadUnsigned(rdb);
    size_t room = 0;
    *count = 0;
    while (!RedisModule_IsIOError(rdb) && *count < told) { /* grows with what is there, not with what is told */
        if (*count == room) *out = memory.realloc(*out, (room = room * 2 + 8) * sizeof **out);
        slice s = load_slice(rdb);
        if (s.data == NULL) return false;
        (*out)[(*count)++] = s;
    }
    return !RedisModule_IsIOError(rdb);
}

void loaded_names_free(slice *items, size_t count) {
    for (size_t i = 0; i < count; i++) loaded_slice_free(items[i]);
    memory.free(items);
}

RedisModuleString *text_argument(const char *text) {
    return RedisModule_CreateString(NULL, text, strlen(text));
}

RedisModuleString *slice_argument(slice s) {
    return RedisModule_CreateString(NULL, s.data, s.len);
}

size_t names_arguments(RedisModuleString **out, const char *word, const names *n) {
    size_t at = 0;
    out[at++] = text_argument(word);
    out[at++] = RedisModule_CreateStringFromLongLong(NULL, (long long)n->count);
    for (size_t i = 0; i < n->count; i++) out[at++] = slice_argument(n->items[i]);
    return at;
}

void arguments_free(RedisModuleString **arguments, size_t count) {
    for (size_t i = 0; i < count; i++) RedisModule_FreeString(NULL, arguments[i]);
    memory.free(arguments);
}
