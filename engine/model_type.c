#include "model_type.h"

#include <errno.h>
#include <string.h>

#include "ai.h"
#include "log.h"
#include "memory.h"
#include "role.h"
#include "typed_io.h"
#include "typed_key.h"

enum {
    RDB_CHUNK_BYTES = 16 * 1024 * 1024, /* what saving and loading need beside the mapped file */
    /* Below the server's default proto-max-bulk-len, for those who feed the file to a client. */
    AOF_CHUNK_BYTES = 256 * 1024 * 1024
};

static void hold(void *value) {
    model_hold(value);
}

static void release(void *value) {
    model_release(value);
}

stored_values stored_models = {.empty = "ERR model key is empty", .hold = hold, .release = release};

model *model_at(RedisModuleCtx *ctx, RedisModuleString *name, const char **error) {
    return typed_key_value(ctx, name, stored_models.type, stored_models.empty, error);
}

const char *model_check_key(RedisModuleCtx *ctx, RedisModuleString *name) {
    return typed_key_check(ctx, name, stored_models.type);
}

static model *listed(model *m, int db, const RedisModuleString *key) {
    stored_values_add(&stored_models, &m->stored, m, m->bytes->size, db, key);
    return m;
}

void model_put(RedisModuleCtx *ctx, RedisModuleKey *key, RedisModuleString *name, model *m) {
    typed_key_set(ctx, key, name, stored_models.type, listed(m, RedisModule_GetSelectedDb(ctx), name));
}

static bool has_bytes(const void *value, const void *bytes) {
    return strcmp(((const model *)value)->bytes->digest, ((const blob *)bytes)->digest) == 0;
}

bool model_bytes_are_held(RedisModuleCtx *ctx, const blob *bytes) {
    return stored_values_any(ctx, &stored_models, has_bytes, bytes);
}

/* ---- the append-only file and replication ---- */

size_t model_arguments(const model *m, const RedisModuleString *key, RedisModuleString ***out) {
    const struct {
        const char *word;
        long long value;
    } options[] = {
        {"BATCHSIZE", m->batchsize}, {"MINBATCHSIZE", m->minbatchsize}, {"MINBATCHTIMEOUT", m->minbatchtimeout_ms}};
    size_t at = 0;
    RedisModuleString **arguments = memory.alloc((18 + m->inputs.count + m->outputs.count) * sizeof *arguments);
    arguments[at++] = RedisModule_CreateStringFromString(NULL, key);
    arguments[at++] = text_argument(model_backend_name(m->backend));
    arguments[at++] = slice_argument(model_device(m));
    arguments[at++] = text_argument("TAG");
    arguments[at++] = slice_argument(model_tag(m));
    for (size_t i = 0; i < sizeof options / sizeof *options && options[i].value > 0; i++) {
        arguments[at++] = text_argument(options[i].word);
        arguments[at++] = RedisModule_CreateStringFromLongLong(NULL, options[i].value);
    }
    at += names_arguments(arguments + at, "INPUTS", &m->inputs);
    at += names_arguments(arguments + at, "OUTPUTS", &m->outputs);
    *out = arguments;
    return at;
}

size_t model_digest_arguments(const model *m, RedisModuleString **out) {
    out[0] = text_argument("DIGEST");
    out[1] = text_argument(m->bytes->digest);
    return 2;
}

size_t model_chunk_arguments(const model *m, RedisModuleString ***out) {
    RedisModuleString **chunks = memory.alloc((m->bytes->size / AOF_CHUNK_BYTES + 1) * sizeof *chunks);
    size_t count = 0;
    for (size_t at = 0; at < m->bytes->size || count == 0; at += AOF_CHUNK_BYTES) {
        size_t left = m->bytes->size - at;
        chunks[count++] = RedisModule_CreateString(NULL, m->bytes->data + at,
                                                   left < AOF_CHUNK_BYTES ? left : AOF_CHUNK_BYTES);
    }
    *out = chunks;
    return count;
}

static void rewrite(RedisModuleIO *aof, RedisModuleString *key, void *value) {
    const model *m = value;
    RedisModuleString **arguments, **chunks;
    size_t count = model_arguments(m, key, &arguments), chunk_count = model_chunk_arguments(m, &chunks);
    arguments[count++] = text_argument("BLOB");
    RedisModule_EmitAOF(aof, "AI.MODELSTORE", "vv", arguments, count, chunks, chunk_count);
    arguments_free(chunks, chunk_count);
    arguments_free(arguments, count);
}

/* ---- RDB ---- */

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

void model_tell_unwritten(const model *m) {
    if (m->bytes->unwritten == 0) return;
    log_note(LEVEL_WARNING,
             "a model cannot be written to keymiss.models-dir (%s): its %zu bytes are kept in memory as long as the server runs",
             strerror(m->bytes->unwritten), m->bytes->size);
}

/* Without it the server ends, or is another than its master; unlike at a RESTORE, whose client is told. */
static bool must_load(RedisModuleIO *rdb) {
    int flags = RedisModule_GetContextFlags(RedisModule_GetContextFromIO(rdb));
    return flags & (REDISMODULE_CTX_FLAGS_LOADING | REDISMODULE_CTX_FLAGS_ASYNC_LOADING) || role_is_read_only_replica(flags);
}

static blob *load_bytes(RedisModuleIO *rdb, const char **error) {
    slice digest = load_slice(rdb);
    uint64_t size = RedisModule_LoadUnsigned(rdb), done = 0;
    blob_writer *w = NULL;
    blob *b = NULL;
    char name[SHA256_HEX_CHARS + 1];
    *error = "bad digest";
    if (digest.data == NULL || RedisModule_IsIOError(rdb) || !sha256_is_hex(digest.data, digest.len)) goto done;
    memcpy(name, digest.data, SHA256_HEX_CHARS);
    name[SHA256_HEX_CHARS] = '\0';

    w = blob_writer_open(name, size, must_load(rdb));
    while (done < size) {
        slice chunk = load_slice(rdb);
        if (chunk.data == NULL || chunk.len == 0) break;
        bool written = blob_writer_add(w, chunk.data, chunk.len);
        done += chunk.len;
        loaded_slice_free(chunk);
        if (!written) break;
    }
    b = blob_writer_close(w);
    *error = errno == 0 ? "the bytes do not have the digest that goes with them" : strerror(errno);
done:
    loaded_slice_free(digest);
    return b;
}

/* Everything is checked: a damaged payload of RESTORE must be refused. */
static void *load(RedisModuleIO *rdb, int encoding) {
    model_args args = {0};
    slice backend = {NULL, 0}, *inputs = NULL, *outputs = NULL;
    blob *bytes;
    model *m = NULL;
    const char *error = "unknown encoding";
    if (encoding != AI_RDB_ENCODING) goto done;

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
    m = listed(model_new(&args, bytes), RedisModule_GetDbIdFromIO(rdb), RedisModule_GetKeyNameFromIO(rdb));
    model_tell_unwritten(m);
done:
    if (m == NULL) RedisModule_LogIOError(rdb, REDISMODULE_LOGLEVEL_WARNING, "model refused: %s", error);
    loaded_slice_free(backend);
    loaded_slice_free(args.device);
    loaded_slice_free(args.tag);
    loaded_names_free(inputs, args.input_count);
    loaded_names_free(outputs, args.output_count);
    return m;
}

/* ---- the other callbacks ---- */

static size_t mem_usage(RedisModuleKeyOptCtx *ctx, const void *value, size_t samples) {
    (void)ctx, (void)samples;
    return model_bytes(value);
}

static void free_value(void *value) {
    model *m = value;
    stored_values_remove(&stored_models, &m->stored);
    model_release(m);
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
    return listed(model_copy(value), RedisModule_GetToDbIdFromOptCtx(ctx), RedisModule_GetToKeyNameFromOptCtx(ctx));
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
    stored_models.type = RedisModule_CreateDataType(ctx, "AI__MODEL", AI_RDB_ENCODING, &methods);
    return stored_models.type == NULL ? REDISMODULE_ERR : REDISMODULE_OK;
}
