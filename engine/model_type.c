#include "model_type.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "memory.h"

enum {
    ENCODING = 100,                     /* the original's are 0 to 4, see tensor_type.c */
    RDB_CHUNK_BYTES = 16 * 1024 * 1024, /* what saving and loading need beside the mapped file */
    AOF_CHUNK_BYTES = 256 * 1024 * 1024 /* below the server's default proto-max-bulk-len, for those who feed the file to a client */
};

static const char NO_MODEL[] = "ERR model key is empty";

static RedisModuleType *type;
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static model *stored;                      /* guarded: newest first */
static long long stored_count, stored_bytes; /* guarded */

/* ---- a model ---- */

static names names_copy(const slice *items, size_t count) {
    names n = {NULL, count};
    size_t size = count * sizeof *items;
    char *at;
    if (count == 0) return n;
    for (size_t i = 0; i < count; i++) size += items[i].len;
    n.items = memory.alloc(size);
    at = (char *)(n.items + count);
    for (size_t i = 0; i < count; i++) {
        if (items[i].len > 0) memcpy(at, items[i].data, items[i].len);
        n.items[i] = (slice){at, items[i].len};
        at += items[i].len;
    }
    return n;
}

static void names_free(names *n) {
    memory.free(n->items);
    *n = (names){NULL, 0};
}

static size_t names_bytes(const names *n) {
    size_t bytes = n->count * sizeof *n->items;
    for (size_t i = 0; i < n->count; i++) bytes += n->items[i].len;
    return bytes;
}

model *model_new(const model_args *args, blob *bytes) {
    model *m = memory.alloc(sizeof *m);
    slice words[2] = {args->device, args->tag};
    *m = (model){.backend = args->backend,
                 .words = names_copy(words, 2),
                 .batchsize = args->batchsize,
                 .minbatchsize = args->minbatchsize,
                 .minbatchtimeout_ms = args->minbatchtimeout_ms,
                 .inputs = names_copy(args->inputs, args->input_count),
                 .outputs = names_copy(args->outputs, args->output_count),
                 .bytes = bytes};
    atomic_init(&m->refs, 1);
    return m;
}

void model_set_names(model *m, const slice *inputs, size_t input_count, const slice *outputs, size_t output_count) {
    names_free(&m->inputs);
    names_free(&m->outputs);
    m->inputs = names_copy(inputs, input_count);
    m->outputs = names_copy(outputs, output_count);
}

slice model_device(const model *m) {
    return m->words.items[0];
}

slice model_tag(const model *m) {
    return m->words.items[1];
}

model *model_hold(model *m) {
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void model_release(model *m) {
    if (m == NULL || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1) return;
    blob_release(m->bytes);
    names_free(&m->words);
    names_free(&m->inputs);
    names_free(&m->outputs);
    names_free(&m->key);
    memory.free(m);
}

static model_args arguments_of(const model *m) {
    return (model_args){.backend = m->backend,
                        .device = model_device(m),
                        .tag = model_tag(m),
                        .batchsize = m->batchsize,
                        .minbatchsize = m->minbatchsize,
                        .minbatchtimeout_ms = m->minbatchtimeout_ms,
                        .inputs = m->inputs.items,
                        .input_count = m->inputs.count,
                        .outputs = m->outputs.items,
                        .output_count = m->outputs.count};
}

static void add_names(frame_writer *out, const names *n) {
    frame_add_number(out, (long long)n->count);
    for (size_t i = 0; i < n->count; i++) frame_add(out, n->items[i].data, n->items[i].len);
}

void model_to_wire(const model *m, frame_writer *out) {
    frame_add_text(out, m->bytes->path);
    frame_add_text(out, m->bytes->digest);
    frame_add_text(out, model_backend_name(m->backend));
    frame_add(out, model_device(m).data, model_device(m).len);
    frame_add(out, model_tag(m).data, model_tag(m).len);
    frame_add_number(out, m->batchsize);
    frame_add_number(out, m->minbatchsize);
    frame_add_number(out, m->minbatchtimeout_ms);
    add_names(out, &m->inputs);
    add_names(out, &m->outputs);
}

/* ---- stored models ---- */

/* The value of a key from now on, as far as we know of this one. */
static model *enlist(model *m, int db, const RedisModuleString *key) {
    slice name = {NULL, 0};
    if (key != NULL) name.data = RedisModule_StringPtrLen(key, &name.len);
    m->db = db;
    m->key = names_copy(&name, 1);
    pthread_mutex_lock(&guard);
    m->next = stored;
    m->link = &stored;
    if (stored != NULL) stored->link = &m->next;
    stored = m;
    stored_count++;
    stored_bytes += (long long)m->bytes->size;
    pthread_mutex_unlock(&guard);
    return m;
}

static void free_value(void *value) {
    model *m = value;
    pthread_mutex_lock(&guard);
    *m->link = m->next;
    if (m->next != NULL) m->next->link = m->link;
    m->link = NULL;
    stored_count--;
    stored_bytes -= (long long)m->bytes->size;
    pthread_mutex_unlock(&guard);
    model_release(m);
}

void model_type_totals(long long *models, long long *bytes) {
    pthread_mutex_lock(&guard);
    *models = stored_count;
    *bytes = stored_bytes;
    pthread_mutex_unlock(&guard);
}

model *model_at(RedisModuleCtx *ctx, RedisModuleString *name, const char **error) {
    RedisModuleKey *key = RedisModule_OpenKey(ctx, name, REDISMODULE_READ);
    model *m = NULL;
    if (RedisModule_KeyType(key) == REDISMODULE_KEYTYPE_EMPTY)
        *error = NO_MODEL;
    else if (RedisModule_ModuleTypeGetType(key) != type)
        *error = REDISMODULE_ERRORMSG_WRONGTYPE;
    else
        m = RedisModule_ModuleTypeGetValue(key);
    RedisModule_CloseKey(key);
    return m;
}

const char *model_check_key(RedisModuleCtx *ctx, RedisModuleString *name) {
    /* Opened for writing, because opening to read an empty key is a key-miss event. */
    RedisModuleKey *key = RedisModule_OpenKey(ctx, name, REDISMODULE_READ | REDISMODULE_WRITE);
    bool fits = RedisModule_KeyType(key) == REDISMODULE_KEYTYPE_EMPTY || RedisModule_ModuleTypeGetType(key) == type;
    RedisModule_CloseKey(key);
    return fits ? NULL : REDISMODULE_ERRORMSG_WRONGTYPE;
}

void model_store(RedisModuleCtx *ctx, RedisModuleString *name, model *m) {
    RedisModuleKey *key = RedisModule_OpenKey(ctx, name, REDISMODULE_READ | REDISMODULE_WRITE);
    RedisModule_ModuleTypeSetValue(key, type, enlist(m, RedisModule_GetSelectedDb(ctx), name));
    RedisModule_CloseKey(key);
}

/* ---- all of them, with their keys ---- */

typedef struct search {
    model **models; /* held; NULL where the key was found */
    size_t count, missing;
    int db; /* being scanned */
    void (*visit)(RedisModuleCtx *ctx, RedisModuleString *key, const model *m, void *arg);
    void *arg;
} search;

static void search_open(search *s) {
    pthread_mutex_lock(&guard);
    s->count = 0;
    s->models = memory.alloc(((size_t)stored_count + 1) * sizeof *s->models);
    for (model *m = stored; m != NULL; m = m->next) s->models[s->count++] = model_hold(m);
    pthread_mutex_unlock(&guard);
    s->missing = s->count;
}

static void search_found(RedisModuleCtx *ctx, search *s, size_t i, RedisModuleString *key) {
    s->visit(ctx, key, s->models[i], s->arg);
    model_release(s->models[i]);
    s->models[i] = NULL;
    s->missing--;
}

static void *value_at(RedisModuleCtx *ctx, RedisModuleString *name) {
    RedisModuleKey *key = RedisModule_OpenKey(ctx, name,
                                              REDISMODULE_READ | REDISMODULE_OPEN_KEY_NOTOUCH | REDISMODULE_OPEN_KEY_NONOTIFY |
                                                  REDISMODULE_OPEN_KEY_NOSTATS);
    void *value = RedisModule_ModuleTypeGetType(key) == type ? RedisModule_ModuleTypeGetValue(key) : NULL;
    RedisModule_CloseKey(key);
    return value;
}

static void scan_key(RedisModuleCtx *ctx, RedisModuleString *name, RedisModuleKey *key, void *arg) {
    search *s = arg;
    const model *value;
    slice text;
    if (key == NULL || RedisModule_ModuleTypeGetType(key) != type) return;
    value = RedisModule_ModuleTypeGetValue(key);
    for (size_t i = 0; i < s->count; i++) {
        if (s->models[i] == NULL || s->models[i] != value) continue;
        text.data = RedisModule_StringPtrLen(name, &text.len);
        names_free(&s->models[i]->key);
        s->models[i]->key = names_copy(&text, 1);
        s->models[i]->db = s->db;
        search_found(ctx, s, i, name);
    }
}

/* Most models are where they were stored, and are found there. Only for one that was renamed, moved or swapped away since
 * it was seen last are all keys scanned. */
void models_each(RedisModuleCtx *ctx, void (*visit)(RedisModuleCtx *ctx, RedisModuleString *key, const model *m, void *arg), void *arg) {
    search s = {.visit = visit, .arg = arg};
    int db = RedisModule_GetSelectedDb(ctx);
    search_open(&s);
    for (size_t i = 0; i < s.count; i++) {
        const slice *name = s.models[i]->key.items;
        if (RedisModule_SelectDb(ctx, s.models[i]->db) != REDISMODULE_OK) continue;
        RedisModuleString *key = RedisModule_CreateString(NULL, name->data, name->len);
        if (value_at(ctx, key) == s.models[i]) search_found(ctx, &s, i, key);
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

/* ---- the append-only file and replication ---- */

static RedisModuleString *text_argument(const char *text) {
    return RedisModule_CreateString(NULL, text, strlen(text));
}

static size_t add_name_arguments(RedisModuleString **out, const char *word, const names *n) {
    size_t at = 0;
    out[at++] = text_argument(word);
    out[at++] = RedisModule_CreateStringFromLongLong(NULL, (long long)n->count);
    for (size_t i = 0; i < n->count; i++) out[at++] = RedisModule_CreateString(NULL, n->items[i].data, n->items[i].len);
    return at;
}

size_t model_arguments_open(const model *m, const RedisModuleString *key, RedisModuleString ***out) {
    const struct {
        const char *word;
        long long value;
    } options[] = {{"BATCHSIZE", m->batchsize}, {"MINBATCHSIZE", m->minbatchsize}, {"MINBATCHTIMEOUT", m->minbatchtimeout_ms}};
    size_t at = 0;
    RedisModuleString **arguments = memory.alloc((16 + m->inputs.count + m->outputs.count) * sizeof *arguments);
    arguments[at++] = RedisModule_CreateStringFromString(NULL, key);
    arguments[at++] = text_argument(model_backend_name(m->backend));
    arguments[at++] = RedisModule_CreateString(NULL, model_device(m).data, model_device(m).len);
    arguments[at++] = text_argument("TAG");
    arguments[at++] = RedisModule_CreateString(NULL, model_tag(m).data, model_tag(m).len);
    for (size_t i = 0; i < sizeof options / sizeof *options && options[i].value > 0; i++) {
        arguments[at++] = text_argument(options[i].word);
        arguments[at++] = RedisModule_CreateStringFromLongLong(NULL, options[i].value);
    }
    at += add_name_arguments(arguments + at, "INPUTS", &m->inputs);
    at += add_name_arguments(arguments + at, "OUTPUTS", &m->outputs);
    arguments[at++] = text_argument("BLOB");
    *out = arguments;
    return at;
}

void model_arguments_close(RedisModuleString **arguments, size_t count) {
    for (size_t i = 0; i < count; i++) RedisModule_FreeString(NULL, arguments[i]);
    memory.free(arguments);
}

static void rewrite(RedisModuleIO *aof, RedisModuleString *key, void *value) {
    const model *m = value;
    RedisModuleString **arguments, **chunks;
    size_t count = model_arguments_open(m, key, &arguments), chunk_count = 0;
    chunks = memory.alloc((m->bytes->size / AOF_CHUNK_BYTES + 1) * sizeof *chunks);
    for (size_t at = 0; at < m->bytes->size || chunk_count == 0; at += AOF_CHUNK_BYTES) {
        size_t left = m->bytes->size - at;
        chunks[chunk_count++] = RedisModule_CreateString(NULL, m->bytes->data + at, left < AOF_CHUNK_BYTES ? left : AOF_CHUNK_BYTES);
    }
    RedisModule_EmitAOF(aof, "AI.MODELSTORE", "vv", arguments, count, chunks, chunk_count);
    model_arguments_close(chunks, chunk_count);
    model_arguments_close(arguments, count);
}

/* ---- RDB ---- */

static void save_slice(RedisModuleIO *rdb, slice s) {
    RedisModule_SaveStringBuffer(rdb, s.data, s.len);
}

static void save_names(RedisModuleIO *rdb, const names *n) {
    RedisModule_SaveUnsigned(rdb, n->count);
    for (size_t i = 0; i < n->count; i++) save_slice(rdb, n->items[i]);
}

/* Backend by name, device, tag, the three batching options, inputs, outputs, digest, size, and the bytes in chunks. */
static void save(RedisModuleIO *rdb, void *value) {
    const model *m = value;
    const char *backend = model_backend_name(m->backend);
    save_slice(rdb, (slice){backend, strlen(backend)});
    save_slice(rdb, model_device(m));
    save_slice(rdb, model_tag(m));
    RedisModule_SaveSigned(rdb, m->batchsize);
    RedisModule_SaveSigned(rdb, m->minbatchsize);
    RedisModule_SaveSigned(rdb, m->minbatchtimeout_ms);
    save_names(rdb, &m->inputs);
    save_names(rdb, &m->outputs);
    save_slice(rdb, (slice){m->bytes->digest, SHA256_HEX_CHARS});
    RedisModule_SaveUnsigned(rdb, m->bytes->size);
    for (size_t at = 0; at < m->bytes->size; at += RDB_CHUNK_BYTES) {
        size_t left = m->bytes->size - at;
        save_slice(rdb, (slice){m->bytes->data + at, left < RDB_CHUNK_BYTES ? left : RDB_CHUNK_BYTES});
    }
}

/* A string that the caller frees with RedisModule_Free((char *)s.data); data is NULL where the payload ends early. */
static slice load_slice(RedisModuleIO *rdb) {
    slice s = {NULL, 0};
    s.data = RedisModule_LoadStringBuffer(rdb, &s.len);
    return s;
}

static void free_slices(slice *items, size_t count) {
    for (size_t i = 0; i < count; i++) RedisModule_Free((char *)items[i].data);
    memory.free(items);
}

/* False where the payload ends early; what was read is in *out in any case. */
static bool load_names(RedisModuleIO *rdb, slice **out, size_t *count) {
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

static blob *load_bytes(RedisModuleIO *rdb, const char **error) {
    slice digest = load_slice(rdb);
    uint64_t size = RedisModule_LoadUnsigned(rdb), done = 0;
    blob_writer *w = NULL;
    blob *b = NULL;
    char name[SHA256_HEX_CHARS + 1];
    *error = "bad digest";
    if (digest.data == NULL || RedisModule_IsIOError(rdb) || digest.len != SHA256_HEX_CHARS) goto done;
    memcpy(name, digest.data, SHA256_HEX_CHARS);
    name[SHA256_HEX_CHARS] = '\0';
    if (strspn(name, "0123456789abcdef") != SHA256_HEX_CHARS) goto done;

    w = blob_writer_open(name, size);
    while (done < size) {
        slice chunk = load_slice(rdb);
        if (chunk.data == NULL || chunk.len == 0) break;
        bool written = blob_writer_add(w, chunk.data, chunk.len);
        done += chunk.len;
        RedisModule_Free((char *)chunk.data);
        if (!written) break;
    }
    b = blob_writer_close(w);
    *error = errno == 0 ? "the bytes do not have the digest that goes with them" : strerror(errno);
done:
    RedisModule_Free((char *)digest.data);
    return b;
}

/* Everything is checked: a damaged payload of RESTORE must be refused. */
static void *load(RedisModuleIO *rdb, int encoding) {
    model_args args = {0};
    slice backend = {NULL, 0}, *inputs = NULL, *outputs = NULL;
    blob *bytes;
    model *m = NULL;
    const char *error = "unknown encoding";
    if (encoding != ENCODING) goto done;

    error = "cut short";
    backend = load_slice(rdb);
    args.device = load_slice(rdb);
    args.tag = load_slice(rdb);
    args.batchsize = RedisModule_LoadSigned(rdb);
    args.minbatchsize = RedisModule_LoadSigned(rdb);
    args.minbatchtimeout_ms = RedisModule_LoadSigned(rdb);
    if (RedisModule_IsIOError(rdb) || !load_names(rdb, &inputs, &args.input_count)) goto done;
    args.inputs = inputs;
    if (!load_names(rdb, &outputs, &args.output_count)) goto done;
    args.outputs = outputs;
    error = "bad backend, device or options";
    if (!model_backend_parse(backend, &args.backend) || !model_device_is_known(args.device)) goto done;
    if (args.batchsize < 0 || args.minbatchsize < 0 || args.minbatchtimeout_ms < 0) goto done;
    bytes = load_bytes(rdb, &error);
    if (bytes == NULL) goto done;
    m = enlist(model_new(&args, bytes), RedisModule_GetDbIdFromIO(rdb), RedisModule_GetKeyNameFromIO(rdb));
done:
    if (m == NULL) RedisModule_LogIOError(rdb, "warning", "model refused: %s", error);
    RedisModule_Free((char *)backend.data);
    RedisModule_Free((char *)args.device.data);
    RedisModule_Free((char *)args.tag.data);
    free_slices(inputs, args.input_count);
    free_slices(outputs, args.output_count);
    return m;
}

/* ---- the other callbacks ---- */

static size_t mem_usage(RedisModuleKeyOptCtx *ctx, const void *value, size_t samples) {
    const model *m = value;
    (void)ctx, (void)samples;
    return sizeof *m + names_bytes(&m->words) + names_bytes(&m->inputs) + names_bytes(&m->outputs) + names_bytes(&m->key) + m->bytes->size;
}

static void digest(RedisModuleDigest *md, void *value) {
    const model *m = value;
    const char *backend = model_backend_name(m->backend);
    RedisModule_DigestAddStringBuffer(md, backend, strlen(backend));
    RedisModule_DigestAddStringBuffer(md, model_device(m).data, model_device(m).len);
    RedisModule_DigestAddStringBuffer(md, model_tag(m).data, model_tag(m).len);
    RedisModule_DigestAddLongLong(md, m->batchsize);
    RedisModule_DigestAddLongLong(md, m->minbatchsize);
    RedisModule_DigestAddLongLong(md, m->minbatchtimeout_ms);
    RedisModule_DigestAddStringBuffer(md, m->bytes->digest, SHA256_HEX_CHARS);
    RedisModule_DigestEndSequence(md);
}

static void *copy(RedisModuleKeyOptCtx *ctx, const void *value) {
    model_args args = arguments_of(value);
    model *m = model_new(&args, blob_hold(((const model *)value)->bytes));
    return enlist(m, RedisModule_GetToDbIdFromOptCtx(ctx), RedisModule_GetToKeyNameFromOptCtx(ctx));
}

int model_type_init(RedisModuleCtx *ctx) {
    RedisModuleTypeMethods methods = {
        .version = REDISMODULE_TYPE_METHOD_VERSION,
        .rdb_load = load,
        .rdb_save = save,
        .aof_rewrite = rewrite,
        .digest = digest,
        .free = free_value,
        .mem_usage2 = mem_usage,
        .copy2 = copy,
    };
    type = RedisModule_CreateDataType(ctx, "AI__MODEL", ENCODING, &methods);
    return type == NULL ? REDISMODULE_ERR : REDISMODULE_OK;
}
