#include "stored_models.h"

#include <pthread.h>

#include "memory.h"
#include "model_type.h"

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static model *stored;                  /* guarded: newest first */
static long long count_now, bytes_now; /* guarded */

model *stored_models_add(model *m, int db, const RedisModuleString *key) {
    slice name = {NULL, 0};
    if (key != NULL) name.data = RedisModule_StringPtrLen(key, &name.len);
    m->stored.db = db;
    m->stored.key = names_copy(&name, 1);
    pthread_mutex_lock(&guard);
    m->stored.next = stored;
    m->stored.link = &stored;
    if (stored != NULL) stored->stored.link = &m->stored.next;
    stored = m;
    count_now++;
    bytes_now += (long long)m->bytes->size;
    pthread_mutex_unlock(&guard);
    return m;
}

void stored_models_remove(model *m) {
    pthread_mutex_lock(&guard);
    *m->stored.link = m->stored.next;
    if (m->stored.next != NULL) m->stored.next->stored.link = m->stored.link;
    m->stored.link = NULL;
    count_now--;
    bytes_now -= (long long)m->bytes->size;
    pthread_mutex_unlock(&guard);
}

void stored_models_totals(long long *models, long long *bytes) {
    pthread_mutex_lock(&guard);
    *models = count_now;
    *bytes = bytes_now;
    pthread_mutex_unlock(&guard);
}

typedef struct search {
    model **models; /* held; NULL where the key was found */
    size_t count, missing;
    int db; /* being scanned */
    stored_models_visit visit;
    void *arg;
} search;

static void search_open(search *s) {
    pthread_mutex_lock(&guard);
    s->count = 0;
    s->models = memory.alloc(((size_t)count_now + 1) * sizeof *s->models);
    for (model *m = stored; m != NULL; m = m->stored.next) s->models[s->count++] = model_hold(m);
    pthread_mutex_unlock(&guard);
    s->missing = s->count;
}

static void search_found(RedisModuleCtx *ctx, search *s, size_t i, RedisModuleString *key) {
    s->visit(ctx, key, s->models[i], s->arg);
    model_release(s->models[i]);
    s->models[i] = NULL;
    s->missing--;
}

static const model *model_now_at(RedisModuleCtx *ctx, RedisModuleString *name) {
    RedisModuleKey *key = RedisModule_OpenKey(ctx, name,
                                              REDISMODULE_READ | REDISMODULE_OPEN_KEY_NOTOUCH |
                                                  REDISMODULE_OPEN_KEY_NONOTIFY | REDISMODULE_OPEN_KEY_NOSTATS);
    const model *m = model_in(key);
    RedisModule_CloseKey(key);
    return m;
}

static void scan_key(RedisModuleCtx *ctx, RedisModuleString *name, RedisModuleKey *key, void *arg) {
    search *s = arg;
    const model *value;
    slice text;
    if (key == NULL || (value = model_in(key)) == NULL) return;
    for (size_t i = 0; i < s->count; i++) {
        if (s->models[i] == NULL || s->models[i] != value) continue;
        text.data = RedisModule_StringPtrLen(name, &text.len);
        names_free(&s->models[i]->stored.key);
        s->models[i]->stored.key = names_copy(&text, 1);
        s->models[i]->stored.db = s->db;
        search_found(ctx, s, i, name);
    }
}

/* Most models are where they were stored, and are found there. Only for one that was renamed, moved or swapped away
 * since it was seen last are all keys scanned. */
void stored_models_each(RedisModuleCtx *ctx, stored_models_visit visit, void *arg) {
    search s = {.visit = visit, .arg = arg};
    int db = RedisModule_GetSelectedDb(ctx);
    search_open(&s);
    for (size_t i = 0; i < s.count; i++) {
        const slice *name = s.models[i]->stored.key.items;
        if (RedisModule_SelectDb(ctx, s.models[i]->stored.db) != REDISMODULE_OK) continue;
        RedisModuleString *key = RedisModule_CreateString(NULL, name->data, name->len);
        if (model_now_at(ctx, key) == s.models[i]) search_found(ctx, &s, i, key);
        RedisModule_FreeString(NULL, key);
    }
    for (s.db = 0; s.missing > 0 && RedisModule_SelectDb(ctx, s.db) == REDISMODULE_OK; s.db++) {
        RedisModuleScanCursor *cursor = RedisModule_ScanCursorCreate();
        while (RedisModule_Scan(ctx, cursor, scan_key, &s)) continue;
        RedisModule_ScanCursorDestroy(cursor);
    }
    RedisModule_SelectDb(ctx, db);
    for (size_t i = 0; i < s.count; i++) model_release(s.models[i]);
    memory.free(s.models);
}
