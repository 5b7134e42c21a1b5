#include "stored_values.h"

#include <pthread.h>

#include "memory.h"

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

void stored_values_add(stored_values *all, stored_value *entry, void *value, size_t bytes, int db,
                       const RedisModuleString *key) {
    slice name = {NULL, 0};
    if (key != NULL) name.data = RedisModule_StringPtrLen(key, &name.len);
    *entry = (stored_value){.link = &all->first, .value = value, .bytes = bytes, .db = db, .key = names_copy(&name, 1)};
    pthread_mutex_lock(&guard);
    entry->next = all->first;
    if (all->first != NULL) all->first->link = &entry->next;
    all->first = entry;
    all->count++;
    all->bytes += (long long)bytes;
    pthread_mutex_unlock(&guard);
}

void stored_values_remove(stored_values *all, stored_value *entry) {
    pthread_mutex_lock(&guard);
    *entry->link = entry->next;
    if (entry->next != NULL) entry->next->link = entry->link;
    entry->link = NULL;
    all->count--;
    all->bytes -= (long long)entry->bytes;
    pthread_mutex_unlock(&guard);
}

void stored_value_clear(stored_value *entry) {
    names_free(&entry->key);
}

size_t stored_value_bytes(const stored_value *entry) {
    return names_bytes(&entry->key);
}

void stored_values_totals(stored_values *all, long long *count, long long *bytes) {
    *count = all->count;
    *bytes = all->bytes;
}

typedef struct search {
    stored_values *all;
    stored_value **entries; /* their values held; NULL where the key was found */
    size_t count, missing;
    int db; /* being scanned */
    stored_values_visit visit;
    void *arg;
} search;

static void search_open(search *s) {
    pthread_mutex_lock(&guard);
    s->entries = memory.alloc(((size_t)s->all->count + 1) * sizeof *s->entries);
    for (stored_value *entry = s->all->first; entry != NULL; entry = entry->next) {
        s->all->hold(entry->value);
        s->entries[s->count++] = entry;
    }
    pthread_mutex_unlock(&guard);
    s->missing = s->count;
}

static void search_found(RedisModuleCtx *ctx, search *s, size_t i, RedisModuleString *key) {
    void *value = s->entries[i]->value;
    s->visit(ctx, key, value, s->arg);
    s->all->release(value);
    s->entries[i] = NULL;
    s->missing--;
}

static const void *value_in(const search *s, RedisModuleKey *key) {
    return RedisModule_ModuleTypeGetType(key) == s->all->type ? RedisModule_ModuleTypeGetValue(key) : NULL;
}

static const void *value_now_at(RedisModuleCtx *ctx, const search *s, RedisModuleString *name) {
    RedisModuleKey *key = RedisModule_OpenKey(ctx, name,
                                              REDISMODULE_READ | REDISMODULE_OPEN_KEY_NOTOUCH |
                                                  REDISMODULE_OPEN_KEY_NONOTIFY | REDISMODULE_OPEN_KEY_NOSTATS);
    const void *value = value_in(s, key);
    RedisModule_CloseKey(key);
    return value;
}

static void scan_key(RedisModuleCtx *ctx, RedisModuleString *name, RedisModuleKey *key, void *arg) {
    search *s = arg;
    const void *value = value_in(s, key);
    slice text;
    if (value == NULL) return;
    for (size_t i = 0; i < s->count; i++) {
        stored_value *entry = s->entries[i];
        if (entry == NULL || entry->value != value) continue;
        text.data = RedisModule_StringPtrLen(name, &text.len);
        names_free(&entry->key);
        entry->key = names_copy(&text, 1);
        entry->db = s->db;
        search_found(ctx, s, i, name);
    }
}

/* Is the value of this entry, which was not found yet, where it was seen last? The context is in that database then. */
static bool is_in_place(RedisModuleCtx *ctx, const search *s, const stored_value *entry) {
    const slice *name = entry->key.items;
    if (RedisModule_SelectDb(ctx, entry->db) != REDISMODULE_OK) return false;
    RedisModuleString *key = RedisModule_CreateString(NULL, name->data, name->len);
    bool found = value_now_at(ctx, s, key) == entry->value;
    RedisModule_FreeString(NULL, key);
    return found;
}

static void search_close(RedisModuleCtx *ctx, search *s, int db) {
    RedisModule_SelectDb(ctx, db);
    for (size_t i = 0; i < s->count; i++) {
        if (s->entries[i] != NULL) s->all->release(s->entries[i]->value);
    }
    memory.free(s->entries);
}

bool stored_values_any(RedisModuleCtx *ctx, stored_values *all, stored_values_question is, const void *arg) {
    search s = {.all = all};
    int db = RedisModule_GetSelectedDb(ctx);
    bool found = false;
    search_open(&s);
    for (size_t i = 0; i < s.count && !found; i++) {
        found = is(s.entries[i]->value, arg) && is_in_place(ctx, &s, s.entries[i]);
    }
    search_close(ctx, &s, db);
    return found;
}

/* Most values are where they were stored, and are found there. Only for one that was renamed, moved or swapped away
 * since it was seen last are all keys scanned. */
void stored_values_each(RedisModuleCtx *ctx, stored_values *all, stored_values_visit visit, void *arg) {
    search s = {.all = all, .visit = visit, .arg = arg};
    int db = RedisModule_GetSelectedDb(ctx);
    search_open(&s);
    for (size_t i = 0; i < s.count; i++) {
        if (!is_in_place(ctx, &s, s.entries[i])) continue;
        const slice *name = s.entries[i]->key.items;
        RedisModuleString *key = RedisModule_CreateString(NULL, name->data, name->len);
        search_found(ctx, &s, i, key);
        RedisModule_FreeString(NULL, key);
    }
    for (s.db = 0; s.missing > 0 && RedisModule_SelectDb(ctx, s.db) == REDISMODULE_OK; s.db++) {
        RedisModuleScanCursor *cursor = RedisModule_ScanCursorCreate();
        while (RedisModule_Scan(ctx, cursor, scan_key, &s)) continue;
        RedisModule_ScanCursorDestroy(cursor);
    }
    search_close(ctx, &s, db);
}
