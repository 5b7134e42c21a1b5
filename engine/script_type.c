#include "script_type.h"

#include "ai.h"
#include "memory.h"
#include "typed_io.h"
#include "typed_key.h"

static void hold(void *value) {
    script_hold(value);
}

static void release(void *value) {
    script_release(value);
}

stored_values stored_scripts = {.empty = "ERR script key is empty", .hold = hold, .release = release};

script *script_at(RedisModuleCtx *ctx, RedisModuleString *name, const char **error) {
    return typed_key_value(ctx, name, stored_scripts.type, stored_scripts.empty, error);
}

const char *script_check_key(RedisModuleCtx *ctx, RedisModuleString *name) {
    return typed_key_check(ctx, name, stored_scripts.type);
}

static script *listed(script *s, int db, const RedisModuleString *key) {
    stored_values_add(&stored_scripts, &s->stored, s, script_source(s).len, db, key);
    return s;
}

/* ---- the append-only file and replication ---- */

/* The arguments of the AI.SCRIPTSTORE that makes this script, for arguments_free. With the tag in any case: so there are
 * enough of them also where there are no entry points. */
static size_t script_arguments(const script *s, const RedisModuleString *key, RedisModuleString ***out) {
    enum { OTHERS = 6 };
    size_t at = 0;
    RedisModuleString **arguments =
        memory.alloc((OTHERS + ARGUMENTS_BESIDE_NAMES + s->entry_points.count) * sizeof *arguments);
    arguments[at++] = RedisModule_CreateStringFromString(NULL, key);
    arguments[at++] = slice_argument(script_device(s));
    arguments[at++] = text_argument("TAG");
    arguments[at++] = slice_argument(script_tag(s));
    at += names_arguments(arguments + at, "ENTRY_POINTS", &s->entry_points);
    arguments[at++] = text_argument("SOURCE");
    arguments[at++] = slice_argument(script_source(s));
    *out = arguments;
    return at;
}

static void rewrite(RedisModuleIO *aof, RedisModuleString *key, void *value) {
    RedisModuleString **arguments;
    size_t count = script_arguments(value, key, &arguments);
    RedisModule_EmitAOF(aof, "AI.SCRIPTSTORE", "v", arguments, count);
    arguments_free(arguments, count);
}

void script_store_and_replicate(RedisModuleCtx *ctx, RedisModuleString *name, script *s) {
    RedisModuleKey *key = typed_key_open_to_set(ctx, name);
    RedisModuleString **arguments;
    size_t count = script_arguments(s, name, &arguments);
    RedisModule_Replicate(ctx, "AI.SCRIPTSTORE", "v", arguments, count);
    arguments_free(arguments, count);
    typed_key_set(ctx, key, name, stored_scripts.type, listed(s, RedisModule_GetSelectedDb(ctx), name));
}

/* ---- RDB ---- */

/* Device, tag, entry points, digest, source. */
static void save(RedisModuleIO *rdb, void *value) {
    const script *s = value;
    save_slice(rdb, script_device(s));
    save_slice(rdb, script_tag(s));
    save_names(rdb, &s->entry_points);
    save_slice(rdb, (slice){s->digest, SHA256_HEX_CHARS});
    save_slice(rdb, script_source(s));
}

/* Everything is checked, as far as it can be without the models worker: a damaged payload of RESTORE must be refused. */
static void *load(RedisModuleIO *rdb, int encoding) {
    script_args args = {0};
    slice *entry_points = NULL, digest = {NULL, 0};
    script *s = NULL;
    const char *error = "unknown encoding";
    if (encoding != AI_RDB_ENCODING) goto done;

    error = "cut short";
    args.device = load_slice(rdb);
    args.tag = load_slice(rdb);
    if (RedisModule_IsIOError(rdb) || !load_names(rdb, &entry_points, &args.entry_point_count)) goto done;
    args.entry_points = entry_points;
    digest = load_slice(rdb);
    args.source = load_slice(rdb);
    if (RedisModule_IsIOError(rdb)) goto done;
    if ((error = script_check(&args)) != NULL) goto done;
    s = script_new(&args);
    if (!slice_is(digest, s->digest)) {
        error = "the source does not have the digest that goes with it";
        script_release(s);
        s = NULL;
        goto done;
    }
    listed(s, RedisModule_GetDbIdFromIO(rdb), RedisModule_GetKeyNameFromIO(rdb));
done:
    if (s == NULL) RedisModule_LogIOError(rdb, REDISMODULE_LOGLEVEL_WARNING, "script refused: %s", error);
    loaded_slice_free(args.device);
    loaded_slice_free(args.tag);
    loaded_slice_free(args.source);
    loaded_slice_free(digest);
    loaded_names_free(entry_points, args.entry_point_count);
    return s;
}

/* ---- the other callbacks ---- */

static size_t mem_usage(RedisModuleKeyOptCtx *ctx, const void *value, size_t samples) {
    (void)ctx, (void)samples;
    return script_bytes(value);
}

static void free_value(void *value) {
    script *s = value;
    stored_values_remove(&stored_scripts, &s->stored);
    script_release(s);
}

static void digest_slice(RedisModuleDigest *md, slice s) {
    RedisModule_DigestAddStringBuffer(md, s.data, s.len);
}

static void digest(RedisModuleDigest *md, void *value) {
    const script *s = value;
    digest_slice(md, script_device(s));
    digest_slice(md, script_tag(s));
    for (size_t i = 0; i < s->entry_points.count; i++) digest_slice(md, s->entry_points.items[i]);
    digest_slice(md, (slice){s->digest, SHA256_HEX_CHARS});
    RedisModule_DigestEndSequence(md);
}

static void *copy(RedisModuleKeyOptCtx *ctx, const void *value) {
    return listed(script_copy(value), RedisModule_GetToDbIdFromOptCtx(ctx), RedisModule_GetToKeyNameFromOptCtx(ctx));
}

int script_type_init(RedisModuleCtx *ctx) {
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
    stored_scripts.type = RedisModule_CreateDataType(ctx, "AI_SCRIPT", AI_RDB_ENCODING, &methods);
    return stored_scripts.type == NULL ? REDISMODULE_ERR : REDISMODULE_OK;
}
