/* registrations.c: the table, its copies and its indexes.
 *
 * 1. The table changes on the main thread only: by HOOK and UNHOOK of our worker, by KEYMISS.REGISTRATION from the master or
 *    the AOF, and by loading an RDB. The first replicates the second; the RDB carries the whole table.
 * 2. A dataset that is loaded brings its table: what was there is dropped when loading starts.
 * 3. With `aof-use-rdb-preamble no` a rewritten AOF holds no registrations: the server asks a module for commands to
 *    rewrite per key only, and a registration is no key. The default, yes, writes an RDB, with the table, first. */
#include "registrations.h"

#include "calls.h"
#include "command_facts.h"
#include "info.h"
#include "log.h"
#include "role.h"
#include "unit.h"
#include "worker.h"

#include <string.h>

static registration **table; /* in the order of registering */
static size_t table_count;
static size_t live_count; /* of them, those that are not gone */
static unsigned long long next_order = 1;

static prefix_table *by_key; /* those of events */
size_t registrations_of_events;

static registration_list matching; /* scratch of registrations_matching */
static size_t matching_room;

static void (*first_event_wanted)(RedisModuleCtx *ctx);

static RedisModuleCtx *asking; /* for asking the server at any time, even while loading */

/* Commands. */

/* Of our own commands. What COMMAND tells of them is what it told of the originals, which says nothing of that. */
static bool waits_for_worker(slice command) {
    static const char *const beginnings[] = {"keymiss.",       "rg.",          "ai.modelstore",    "ai.modelset",
                                             "ai.modelexecute", "ai.modelrun",  "ai.scriptstore",   "ai.scriptset",
                                             "ai.scriptexecute", "ai.scriptrun", "ai.dag"};
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
        size_t len = strlen(beginnings[i]);
        if (command.len >= len && memcmp(command.data, beginnings[i], len) == 0) return true;
    }
    return false;
}

static command_facts facts_of(slice command) {
    command_facts facts = command_facts_of(asking, &command, 1);
    facts.blocks |= waits_for_worker(command);
    return facts;
}

/* What the original's flags are decides which of our hook commands stands in for it. */
static void describe_command(hooked_command *command) {
    command_facts facts = facts_of(command->name);
    command->known = facts.known && !facts.blocks;
    command->writes = facts.writes;
    command->arity = facts.arity;
}

/* The hook runs the command, and what a module runs never waits: BLPOP would answer nil at once. */
static bool names_blocking_command(const registration *r) {
    for (size_t i = 0; i < r->commands.count; i++) {
        if (facts_of(r->commands.items[i]).blocks) return true;
    }
    return false;
}

/* The table. */

static bool waits_for_events(const registration *r) {
    return !r->paused && (r->kind == REGISTRATION_KEYS || r->kind == REGISTRATION_STREAM);
}

static void index_add(registration *r) {
    if (r->paused) return;
    if (waits_for_events(r)) {
        prefix_table_add(by_key, r->prefix.data, r->prefix.len, r);
        registrations_of_events++;
        if (first_event_wanted) first_event_wanted(asking);
        first_event_wanted = NULL;
    }
    if (r->kind == REGISTRATION_KEYS || r->kind == REGISTRATION_HOOK) hooked_commands_add(r, describe_command);
}

static void index_remove(registration *r) {
    if (r->paused) return;
    if (waits_for_events(r)) {
        prefix_table_remove(by_key, r->prefix.data, r->prefix.len, r);
        registrations_of_events--;
    }
    if (r->kind == REGISTRATION_KEYS || r->kind == REGISTRATION_HOOK) hooked_commands_remove(r);
}

static size_t place_of(slice id) {
    size_t i = 0;
    while (i < table_count && !(table[i]->id.len == id.len && memcmp(table[i]->id.data, id.data, id.len) == 0)) i++;
    return i;
}

static void keep_worker(void) {
    worker_keep(WORKER_FUNCTIONS, live_count > 0);
}

static void drop(registration *r) {
    index_remove(r);
    live_count -= r->kind != REGISTRATION_GONE;
    r->removed = true;
    registration_release(r);
}

/* Takes r over. One with the id of another takes its place and its turn. */
static void table_set(registration *r) {
    size_t i = place_of(r->id);
    if (i < table_count) {
        r->order = table[i]->order;
        drop(table[i]);
    } else {
        table = RedisModule_Realloc(table, (table_count + 1) * sizeof *table);
        table_count++;
        r->order = next_order++;
    }
    table[i] = r;
    live_count += r->kind != REGISTRATION_GONE;
    index_add(r);
    hooked_commands_refresh(describe_command);
    keep_worker();
}

static bool table_remove(slice id) {
    size_t i = place_of(id);
    if (i == table_count) return false;
    drop(table[i]);
    memmove(&table[i], &table[i + 1], (table_count - i - 1) * sizeof *table);
    table_count--;
    keep_worker();
    return true;
}

static void collect(void *value, void *arg) {
    (void)arg;
    if (matching.count == matching_room) {
        matching_room = matching_room ? 2 * matching_room : 16;
        matching.items = RedisModule_Realloc(matching.items, matching_room * sizeof *matching.items);
    }
    registration *r = value;
    size_t i = matching.count++;
    while (i > 0 && matching.items[i - 1]->order > r->order) {
        matching.items[i] = matching.items[i - 1];
        i--;
    }
    matching.items[i] = r;
}

void registrations_on_first_event_wanted(void (*wanted)(RedisModuleCtx *ctx)) {
    first_event_wanted = wanted;
}

registration_list registrations_matching(const char *key, size_t len) {
    matching.count = 0;
    prefix_table_find(by_key, key, len, collect, NULL);
    return matching;
}

/* The worker. */

static void tell_worker_without(slice id) {
    frame_writer f;
    frame_init(&f);
    frame_add_text(&f, "UNREGISTRATION");
    frame_add(&f, id.data, id.len);
    worker_tell(WORKER_FUNCTIONS, &f);
    frame_free(&f);
}

static void tell_worker_of(const registration *r) {
    frame_writer f;
    frame_init(&f);
    frame_add_text(&f, "REGISTRATION");
    frame_add(&f, r->id.data, r->id.len);
    frame_add(&f, r->parts[1].data, r->parts[1].len);
    if (!worker_tell(WORKER_FUNCTIONS, &f)) {
        log_note(LEVEL_WARNING,
                 "registration %.*s is longer than keymiss.max-frame-bytes: the functions worker does without it",
                 (int)r->id.len, r->id.data);
        tell_worker_without(r->id); /* it may have the one that this replaces */
    }
    frame_free(&f);
}

static void greet_worker(RedisModuleCtx *ctx, worker_role role) {
    (void)ctx;
    (void)role;
    for (size_t i = 0; i < table_count; i++) tell_worker_of(table[i]);
}

/* Replicas and the AOF. */

static void replicate(RedisModuleCtx *ctx, const char *what, const slice *parts, size_t count) {
    RedisModuleString **argv = RedisModule_Alloc(count * sizeof *argv);
    for (size_t i = 0; i < count; i++) argv[i] = RedisModule_CreateString(NULL, parts[i].data, parts[i].len);
    RedisModule_Replicate(ctx, "KEYMISS.REGISTRATION", "cv", what, argv, count);
    for (size_t i = 0; i < count; i++) RedisModule_FreeString(NULL, argv[i]);
    RedisModule_Free(argv);
}

static const char *const REPLICA_REFUSES = "READONLY registrations are made on the master: this shard is a read-only replica";

/* NULL: the table may change. */
static const char *refusal(RedisModuleCtx *ctx) {
    if (role_is_read_only_replica(RedisModule_GetContextFlags(ctx))) return REPLICA_REFUSES;
    return unit_is_held() ? UNIT_HELD_ERROR : NULL;
}

static void on_hook(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    asker from;
    if (!asker_read(role, f->parts[1], &from)) return;
    const char *error = refusal(ctx);
    if (error) {
        asker_result_error(from, error);
        return;
    }
    registration *r = registration_parse(f->parts + 2, f->count - 2, &error);
    if (r && table_count >= REGISTRATIONS_MAX && place_of(r->id) == table_count) error = "ERR too many registrations";
    if (r && names_blocking_command(r)) error = "ERR a command that may block its client cannot be hooked";
    if (error) {
        registration_release(r);
        asker_result_error(from, error);
        return;
    }
    table_set(r);
    replicate(ctx, "SET", r->parts, r->parts_count);
    asker_result_ok(from);
}

static void on_unhook(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    asker from;
    if (!asker_read(role, f->parts[1], &from)) return;
    slice id = f->parts[2];
    const char *error = refusal(ctx);
    if (!error && !table_remove(id)) error = "ERR no such registration";
    if (error) {
        asker_result_error(from, error);
        return;
    }
    replicate(ctx, "DEL", &id, 1);
    asker_result_ok(from);
}

/* KEYMISS.REGISTRATION SET <id> <blob> ... | DEL <id>: how the table reaches replicas and the AOF; +OK. */
static int registration_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    if (argc < 3) return RedisModule_WrongArity(ctx);
    int flags = RedisModule_GetContextFlags(ctx);
    if (!(flags & (REDISMODULE_CTX_FLAGS_REPLICATED | REDISMODULE_CTX_FLAGS_LOADING))) {
        return RedisModule_ReplyWithError(
            ctx, "ERR KEYMISS.REGISTRATION is for replication only: register with RG.PYEXECUTE");
    }
    size_t count = (size_t)argc - 2;
    slice *parts = RedisModule_Alloc(count * sizeof *parts);
    for (size_t i = 0; i < count; i++) parts[i].data = RedisModule_StringPtrLen(argv[i + 2], &parts[i].len);
    slice what;
    what.data = RedisModule_StringPtrLen(argv[1], &what.len);

    const char *error = NULL;
    if (slice_is_word(what, "set")) {
        registration *r = registration_parse(parts, count, &error);
        if (r) {
            table_set(r);
            tell_worker_of(r);
        }
    } else if (slice_is_word(what, "del") && count == 1) {
        if (table_remove(parts[0])) tell_worker_without(parts[0]);
    } else {
        error = "ERR KEYMISS.REGISTRATION SET <registration> or DEL <id>";
    }
    RedisModule_Free(parts);
    if (error) return RedisModule_ReplyWithError(ctx, error);
    RedisModule_ReplicateVerbatim(ctx);
    return RedisModule_ReplyWithSimpleString(ctx, "OK");
}

/* The RDB. */

enum { ENCODING_VERSION = 1 };

static void table_save(RedisModuleIO *rdb, int when) {
    (void)when;
    RedisModule_SaveUnsigned(rdb, table_count);
    for (size_t i = 0; i < table_count; i++) {
        const registration *r = table[i];
        RedisModule_SaveUnsigned(rdb, r->parts_count);
        for (size_t j = 0; j < r->parts_count; j++) {
            RedisModule_SaveStringBuffer(rdb, r->parts[j].data, r->parts[j].len);
        }
    }
}

/* Newer servers keep an auxiliary field only if something was written, so that the RDB of a server without registrations can be
 * read without the module. */
static void table_save_if_any(RedisModuleIO *rdb, int when) {
    if (table_count > 0) table_save(rdb, when);
}

static registration *load_one(RedisModuleIO *rdb) {
    const size_t most_parts = 9 + 3 * (size_t)REGISTRATION_MAX_NAMES;
    registration *r = NULL;
    slice *parts = NULL;
    size_t loaded = 0;
    uint64_t count = RedisModule_LoadUnsigned(rdb);
    if (RedisModule_IsIOError(rdb) || count > most_parts) return NULL;
    parts = RedisModule_Calloc(count ? count : 1, sizeof *parts);
    for (; loaded < count; loaded++) {
        parts[loaded].data = RedisModule_LoadStringBuffer(rdb, &parts[loaded].len);
        if (RedisModule_IsIOError(rdb) || !parts[loaded].data) goto done;
    }
    const char *error;
    r = registration_parse(parts, count, &error);
    if (!r) RedisModule_LogIOError(rdb, "warning", "%s", error);
done:
    for (size_t i = 0; i < loaded; i++) RedisModule_Free((char *)(uintptr_t)parts[i].data);
    RedisModule_Free(parts);
    return r;
}

static int table_load(RedisModuleIO *rdb, int version, int when) {
    (void)when;
    if (version != ENCODING_VERSION) {
        RedisModule_LogIOError(rdb, "warning", "registrations are of version %d, this module reads %d: upgrade it", version,
                               ENCODING_VERSION);
        return REDISMODULE_ERR;
    }
    uint64_t count = RedisModule_LoadUnsigned(rdb);
    if (RedisModule_IsIOError(rdb) || count > REGISTRATIONS_MAX) return REDISMODULE_ERR;
    for (uint64_t i = 0; i < count; i++) {
        registration *r = load_one(rdb);
        if (!r) return REDISMODULE_ERR;
        table_set(r);
        tell_worker_of(r);
    }
    return REDISMODULE_OK;
}

static void on_loading(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t subevent, void *data) {
    (void)event;
    (void)data;
    if (subevent == REDISMODULE_SUBEVENT_LOADING_ENDED) {
        /* A master that was restarted has its functions ready before the first miss asks for them. */
        bool master = RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_MASTER;
        if (master && live_count > 0) worker_need(WORKER_FUNCTIONS);
        return;
    }
    if (subevent != REDISMODULE_SUBEVENT_LOADING_RDB_START && subevent != REDISMODULE_SUBEVENT_LOADING_AOF_START &&
        subevent != REDISMODULE_SUBEVENT_LOADING_REPL_START) {
        return;
    }
    while (table_count > 0) {
        slice id = table[table_count - 1]->id;
        tell_worker_without(id);
        table_remove(id);
    }
}

/* A replica that becomes a master has work to go on with: what is left in the streams that its master read. */
static void on_role(RedisModuleCtx *ctx, bool replica) {
    frame_writer f;
    frame_init(&f);
    frame_add_text(&f, "SETTING");
    frame_add_text(&f, "replica");
    frame_add_text(&f, replica ? "1" : "0");
    worker_tell(WORKER_FUNCTIONS, &f);
    frame_free(&f);
    if (replica || live_count == 0) return;
    worker_need(WORKER_FUNCTIONS);
    greet_worker(ctx, WORKER_FUNCTIONS);
}

static void write_info(RedisModuleInfoCtx *info) {
    size_t by_kind[REGISTRATION_GONE + 1] = {0};
    for (size_t i = 0; i < table_count; i++) by_kind[table[i]->kind]++;
    RedisModule_InfoAddFieldULongLong(info, "registrations", live_count);
    RedisModule_InfoAddFieldULongLong(info, "registrations_keys", by_kind[REGISTRATION_KEYS]);
    RedisModule_InfoAddFieldULongLong(info, "registrations_stream", by_kind[REGISTRATION_STREAM]);
    RedisModule_InfoAddFieldULongLong(info, "registrations_hook", by_kind[REGISTRATION_HOOK]);
    RedisModule_InfoAddFieldULongLong(info, "registrations_other", by_kind[REGISTRATION_OTHER]);
    RedisModule_InfoAddFieldULongLong(info, "registrations_gone", by_kind[REGISTRATION_GONE]);
    RedisModule_InfoAddFieldULongLong(info, "hooked_commands", hooked_commands_count);
}

int registrations_init(RedisModuleCtx *ctx) {
    RedisModuleTypeMethods methods = {
        .version = REDISMODULE_TYPE_METHOD_VERSION,
        .aux_load = table_load,
        .aux_save = table_save,
        .aux_save2 = table_save_if_any,
        .aux_save_triggers = REDISMODULE_AUX_BEFORE_RDB,
    };
    by_key = prefix_table_new();
    asking = RedisModule_GetDetachedThreadSafeContext(ctx);
    if (!RedisModule_CreateDataType(ctx, "keymissRg", ENCODING_VERSION, &methods)) return REDISMODULE_ERR;
    if (RedisModule_CreateCommand(ctx, "keymiss.registration", registration_command, "write", 0, 0, 0) != REDISMODULE_OK) {
        return REDISMODULE_ERR;
    }
    worker_on_verb(WORKER_FUNCTIONS, "HOOK", 11, on_hook);
    worker_on_verb(WORKER_FUNCTIONS, "UNHOOK", 3, on_unhook);
    worker_on_ready(WORKER_FUNCTIONS, greet_worker);
    role_on_change(on_role);
    info_section("registrations", write_info);
    return REDISMODULE_OK;
}

int registrations_listen(RedisModuleCtx *ctx) {
    return RedisModule_SubscribeToServerEvent(ctx, (RedisModuleEvent){REDISMODULE_EVENT_LOADING, 1}, on_loading);
}
