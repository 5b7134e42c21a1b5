#include "tensor_type.h"

#include <string.h>

#include "ai.h"
#include "typed_key.h"

static RedisModuleType *type;
static atomic_llong stored_tensors, stored_bytes; /* a value may be freed in the server's lazy-free thread */

/* Not for nothing: an atomic addition is a good part of what a small tensor costs. */
static void count(long long tensors, long long bytes) {
    if (tensors != 0) atomic_fetch_add_explicit(&stored_tensors, tensors, memory_order_relaxed);
    if (bytes != 0) atomic_fetch_add_explicit(&stored_bytes, bytes, memory_order_relaxed);
}

static tensor *counted(tensor *t) {
    if (t != NULL) count(1, (long long)tensor_heap_bytes(t));
    return t;
}

static void free_value(void *value) {
    tensor *t = value;
    count(-1, -(long long)tensor_heap_bytes(t));
    tensor_release(t);
}

void tensor_type_totals(long long *tensors, long long *bytes) {
    *tensors = atomic_load_explicit(&stored_tensors, memory_order_relaxed);
    *bytes = atomic_load_explicit(&stored_bytes, memory_order_relaxed);
}

/* dtype (by name, so that the numbers of tensor_dtype may change), shape, data. */
static void save(RedisModuleIO *rdb, void *value) {
    const tensor *t = value;
    const char *dtype = tensor_dtype_name(t->dtype);
    slice name = {dtype, strlen(dtype)};
    RedisModule_SaveStringBuffer(rdb, name.data, name.len);
    RedisModule_SaveUnsigned(rdb, t->dims);
    for (unsigned i = 0; i < t->dims; i++) RedisModule_SaveSigned(rdb, t->shape[i]);
    RedisModule_SaveStringBuffer(rdb, t->data, t->size);
}

/* Everything is checked: a damaged payload of RESTORE must be refused. */
static void *load(RedisModuleIO *rdb, int encoding) {
    char *dtype = NULL, *data = NULL;
    tensor *t = NULL;
    int64_t shape[TENSOR_MAX_DIMS];
    slice name = {NULL, 0}, blob = {NULL, 0};
    const char *error = "unknown encoding";
    tensor_dtype parsed;
    if (encoding != AI_RDB_ENCODING) goto done;

    error = "cut short";
    dtype = RedisModule_LoadStringBuffer(rdb, &name.len);
    uint64_t dims = RedisModule_LoadUnsigned(rdb);
    if (RedisModule_IsIOError(rdb) || dtype == NULL) goto done;
    name.data = dtype;
    error = "bad dtype or shape";
    if (!tensor_dtype_parse(name, &parsed) || dims > TENSOR_MAX_DIMS) goto done;
    for (uint64_t i = 0; i < dims; i++) shape[i] = RedisModule_LoadSigned(rdb);
    error = "cut short";
    data = RedisModule_LoadStringBuffer(rdb, &blob.len);
    if (RedisModule_IsIOError(rdb) || data == NULL) goto done;
    blob.data = data;
    t = counted(tensor_from_blob(parsed, shape, dims, blob, &error));
done:
    if (t == NULL) RedisModule_LogIOError(rdb, REDISMODULE_LOGLEVEL_WARNING, "tensor refused: %s", error);
    RedisModule_Free(dtype);
    RedisModule_Free(data);
    return t;
}

/* The shape as arguments of AI.TENSORSET. */
static void shape_open(const tensor *t, RedisModuleString *out[TENSOR_MAX_DIMS]) {
    for (unsigned i = 0; i < t->dims; i++) out[i] = RedisModule_CreateStringFromLongLong(NULL, t->shape[i]);
}

static void shape_close(const tensor *t, RedisModuleString *out[TENSOR_MAX_DIMS]) {
    for (unsigned i = 0; i < t->dims; i++) RedisModule_FreeString(NULL, out[i]);
}

static void rewrite(RedisModuleIO *aof, RedisModuleString *name, void *value) {
    const tensor *t = value;
    RedisModuleString *shape[TENSOR_MAX_DIMS];
    shape_open(t, shape);
    RedisModule_EmitAOF(aof, "AI.TENSORSET", "scvcb", name, tensor_dtype_name(t->dtype), shape, (size_t)t->dims, "BLOB",
                        t->data, t->size);
    shape_close(t, shape);
}

static size_t mem_usage(RedisModuleKeyOptCtx *ctx, const void *value, size_t samples) {
    (void)ctx, (void)samples;
    return tensor_heap_bytes(value);
}

static void digest(RedisModuleDigest *md, void *value) {
    const tensor *t = value;
    const char *dtype = tensor_dtype_name(t->dtype);
    RedisModule_DigestAddStringBuffer(md, dtype, strlen(dtype));
    for (unsigned i = 0; i < t->dims; i++) RedisModule_DigestAddLongLong(md, t->shape[i]);
    RedisModule_DigestAddStringBuffer(md, t->data, t->size);
    RedisModule_DigestEndSequence(md);
}

static void *copy(RedisModuleKeyOptCtx *ctx, const void *value) {
    (void)ctx;
    return counted(tensor_hold((tensor *)value)); /* only its count of references changes */
}

/* Giving back a large block means giving back its pages: let the lazy-free thread do it. */
static size_t free_effort(RedisModuleKeyOptCtx *ctx, const void *value) {
    enum { BYTES_AS_DEAR_AS_ONE_ALLOCATION = 64 * 1024 };
    (void)ctx;
    return 1 + ((const tensor *)value)->size / BYTES_AS_DEAR_AS_ONE_ALLOCATION;
}

int tensor_type_init(RedisModuleCtx *ctx) {
    RedisModuleTypeMethods methods = {
        .version = REDISMODULE_TYPE_METHOD_VERSION,
        .rdb_load = load,
        .rdb_save = save,
        .aof_rewrite = rewrite,
        .digest = digest,
        .free = free_value,
        .mem_usage2 = mem_usage,
        .free_effort2 = free_effort,
        .copy2 = copy,
    };
    type = RedisModule_CreateDataType(ctx, "AI_TENSOR", AI_RDB_ENCODING, &methods);
    return type == NULL ? REDISMODULE_ERR : REDISMODULE_OK;
}

tensor *tensor_at(RedisModuleCtx *ctx, RedisModuleString *name, const char **error) {
    return typed_key_value(ctx, name, type, "ERR tensor key is empty or in a different shard", error);
}

const char *tensor_check_key(RedisModuleCtx *ctx, RedisModuleString *name) {
    return typed_key_check(ctx, name, type);
}

RedisModuleKey *tensor_open(RedisModuleCtx *ctx, RedisModuleString *name, const char **error) {
    return typed_key_open(ctx, name, type, error);
}

tensor *tensor_in_place(RedisModuleKey *key) {
    /* NULL where the key is empty. */
    return RedisModule_GetExpire(key) == REDISMODULE_NO_EXPIRE ? RedisModule_ModuleTypeGetValue(key) : NULL;
}

void tensor_put(RedisModuleCtx *ctx, RedisModuleKey *key, RedisModuleString *name, tensor *t) {
    tensor *old = tensor_in_place(key);
    void *replaced;
    if (old != NULL) { /* to delete and to add a key costs more than all the rest */
        RedisModule_ModuleTypeReplaceValue(key, type, t, &replaced);
        count(0, (long long)tensor_heap_bytes(t) - (long long)tensor_heap_bytes(old));
        tensor_release(old);
    } else {
        RedisModule_ModuleTypeSetValue(key, type, counted(t));
    }
    typed_key_close_changed(ctx, key, name);
}

void tensor_store_and_replicate(RedisModuleCtx *ctx, RedisModuleString *name, tensor *t) {
    RedisModuleKey *key = typed_key_open_to_set(ctx, name);
    RedisModuleString *shape[TENSOR_MAX_DIMS];
    shape_open(t, shape);
    RedisModule_Replicate(ctx, "AI.TENSORSET", "scvcb", name, tensor_dtype_name(t->dtype), shape, (size_t)t->dims,
                          "BLOB", t->data, t->size);
    shape_close(t, shape);
    tensor_put(ctx, key, name, t);
}
