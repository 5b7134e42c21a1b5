/* settings.c: the table of keymiss.* settings, with their limits and the reasons for them. */
#include "settings.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define KIB 1024LL
#define MIB (1024LL * KIB)
#define GIB (1024LL * MIB)
#define SECOND_MS 1000LL
#define DAY_MS (24 * 3600 * SECOND_MS)
#define PORT_MAX 65535

settings_values settings;

typedef struct numeric_setting {
    const char *name;
    long long *value;
    long long standard, min, max;
    unsigned flags;
} numeric_setting;

typedef struct text_setting {
    const char *name;
    const char **value; /* points into held */
    const char *standard;
    const char *(*refuse)(const char *value); /* NULL, or why not */
    unsigned flags;
    RedisModuleString *held;
} text_setting;

static const char *refuse_models(const char *value) {
    static const char unix_prefix[] = "unix:";
    if (strcmp(value, "auto") == 0) return NULL;
    if (strncmp(value, unix_prefix, strlen(unix_prefix)) != 0 || value[strlen(unix_prefix)] == 0) {
        return "must be 'auto' or 'unix:<path of a socket>'";
    }
    size_t path_len = strlen(value) - strlen(unix_prefix);
    return path_len < sizeof(((struct sockaddr_un *)0)->sun_path) ? NULL : "the path is too long for a unix socket";
}

static const char *refuse_empty(const char *value) {
    return *value ? NULL : "must not be empty";
}

static const char *refuse_log_level(const char *value) {
    static const char *const levels[] = {"debug", "verbose", "notice", "warning"};
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (strcmp(value, levels[i]) == 0) return NULL;
    }
    return "must be debug, verbose, notice or warning";
}

static const char *refuse_log_format(const char *value) {
    return strcmp(value, "text") == 0 || strcmp(value, "json") == 0 ? NULL : "must be text or json";
}

static const char *refuse_unless_yes_or_no(const char *value) {
    return strcmp(value, "yes") == 0 || strcmp(value, "no") == 0 ? NULL : "must be yes or no";
}

static const char *refuse_address(const char *value) {
    struct in6_addr room;
    return inet_pton(AF_INET, value, &room) == 1 || inet_pton(AF_INET6, value, &room) == 1
               ? NULL
               : "must be an IPv4 or IPv6 address";
}

/* It is a label of metrics and a word in logs. */
static const char *refuse_shard_name(const char *value) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:";
    size_t len = strlen(value);
    return len <= 64 && strspn(value, allowed) == len ? NULL : "must be at most 64 letters, digits and -_.:";
}

static const char *refuse_none(const char *value) {
    (void)value;
    return NULL;
}

static text_setting texts[] = {
    {"models", &settings.models, "auto", refuse_models, 0, NULL},
    /* Where files are written and which program is run: like the server's own dir, not for everyone with CONFIG SET. */
    {"models-dir", &settings.models_dir, "models", refuse_empty, REDISMODULE_CONFIG_PROTECTED, NULL},
    {"python", &settings.python, "", refuse_none, REDISMODULE_CONFIG_PROTECTED, NULL},
    /* Commands are made when the module is loaded. RedisAI's were in no category, and COMMAND INFO showed it. */
    {"acl-categories", &settings.acl_categories, "no", refuse_unless_yes_or_no, REDISMODULE_CONFIG_IMMUTABLE, NULL},
    {"log-level", &settings.log_level, "notice", refuse_log_level, 0, NULL},
    {"log-format", &settings.log_format, "text", refuse_log_format, 0, NULL},
    {"shard-name", &settings.shard_name, "", refuse_shard_name, 0, NULL},
    /* Whoever reaches it may read: only this host, unless somebody says otherwise. */
    {"metrics-address", &settings.metrics_address, "127.0.0.1", refuse_address, 0, NULL},
};

static const numeric_setting numbers[] = {
    {"metrics-port", &settings.metrics_port, 0, 0, PORT_MAX, 0},
    {"models-metrics-port", &settings.models_metrics_port, 0, 0, PORT_MAX, 0},
    /* A client waits at most so long for an answer: a slow model on a busy CPU needs seconds, a person gives up later. */
    {"job-timeout-ms", &settings.job_timeout_ms, 30 * SECOND_MS, 1, DAY_MS, 0},
    /* Nobody else is served meanwhile, and a cluster starts a failover after cluster-node-timeout (15 s). */
    {"sync-timeout-ms", &settings.sync_timeout_ms, 5 * SECOND_MS, 1, 60 * SECOND_MS, 0},
    {"execution-timeout-ms", &settings.execution_timeout_ms, 3600 * SECOND_MS, 1, 30 * DAY_MS, 0},
    /* Its I/O loop answers a PING at once; a worker that stops for longer swaps, or is stuck. */
    {"hang-timeout-ms", &settings.hang_timeout_ms, 30 * SECOND_MS, 100, DAY_MS, 0},
    /* Longer than a large sort or dump holds the interpreter; a client that is told can try again, or do without. */
    {"busy-timeout-ms", &settings.busy_timeout_ms, 5 * SECOND_MS, 0, DAY_MS, 0},
    /* A question to a large model on a CPU takes less; what takes longer somebody should look at. */
    {"slow-ms", &settings.slow_ms, 1 * SECOND_MS, 0, DAY_MS, 0},
    {"restart-backoff-ms", &settings.restart_backoff_ms, 100, 1, 10 * SECOND_MS, 0},
    /* As many as clients can plausibly wait (maxclients is 10,000) with room for events. */
    {"max-jobs", &settings.max_jobs, 65536, 1, 16 << 20, 0},
    /* At least one of the largest frames must fit. */
    {"max-channel-bytes", &settings.max_channel_bytes, 1 * GIB, 1 * MIB, 64 * GIB, REDISMODULE_CONFIG_MEMORY},
    /* hiredis counts in int, and a tensor of a larger size does not fit a server's string either (512 MiB). */
    {"max-frame-bytes", &settings.max_frame_bytes, 1 * GIB, 64 * KIB, 2 * GIB - 1, REDISMODULE_CONFIG_MEMORY},
    {"functions-threads", &settings.functions_threads, 3, 1, 64, 0},
    /* 1: everything runs in the worker. More: executions of RG.PYEXECUTE, and what asks for it, in so many beside it. */
    {"functions-processes", &settings.functions_processes, 1, 1, 64, 0},
    /* The limits of what functions take (docs/limits.md). Memory is that of one process, and what most hosts can spare. */
    {"functions-memory", &settings.functions_memory, 4 * GIB, 0, 1024 * GIB, REDISMODULE_CONFIG_MEMORY},
    {"functions-children", &settings.functions_children, 64, 0, 4096, 0},
    {"functions-output", &settings.functions_output, 1 * MIB, 4 * KIB, 1 * GIB, REDISMODULE_CONFIG_MEMORY},
    /* Half of the largest frame: a reply that is larger would end the channel, and with it everyone's jobs. */
    {"max-result-bytes", &settings.max_result_bytes, 512 * MIB, 1 * KIB, 2 * GIB - 1, REDISMODULE_CONFIG_MEMORY},
    /* Longer than any import but those of the largest libraries, on a slow machine; other coroutines wait meanwhile. */
    {"loop-timeout-ms", &settings.loop_timeout_ms, 10 * SECOND_MS, 100, DAY_MS, 0},
    /* A function may go on by writing its key again; one that never stops is found out within a second or so. */
    {"max-refires", &settings.max_refires, 1000, 0, 1 << 30, 0},
    {"models-threads", &settings.models_threads, 0, 0, 1024, 0},
    /* 0: no limit. Most hosts have room for all their models, and a limit that is too low costs every run. */
    {"models-memory", &settings.models_memory, 0, 0, 1024 * GIB, REDISMODULE_CONFIG_MEMORY},
    /* The original's: a reply's bulk string holds at most 512 MiB. */
    {"model-chunk-size", &settings.model_chunk_size, 535822336, 1, 511 * MIB, 0},
    /* Not used here: functions see every setting, and gears/answer.py obeys this one. 0 measures the model, not the cache. */
    {"answer-ttl-ms", &settings.answer_ttl_ms, DAY_MS, 0, 365 * DAY_MS, 0},
};

enum { TEXTS = sizeof(texts) / sizeof(texts[0]), NUMBERS = sizeof(numbers) / sizeof(numbers[0]), LISTENERS_MAX = 8 };

static settings_listener listeners[LISTENERS_MAX];
static size_t listener_count;
static bool loaded; /* the first values are no changes */

static void tell_listeners(const char *name, const char *value) {
    for (size_t i = 0; loaded && i < listener_count; i++) listeners[i](name, value);
}

static RedisModuleString *get_text(const char *name, void *privdata) {
    (void)name;
    return ((text_setting *)privdata)->held;
}

static int set_text(const char *name, RedisModuleString *value, void *privdata, RedisModuleString **err) {
    (void)name;
    text_setting *s = privdata;
    size_t len;
    const char *text = RedisModule_StringPtrLen(value, &len);
    const char *refused = strlen(text) == len ? s->refuse(text) : "must not contain a NUL byte";
    if (refused) {
        *err = RedisModule_CreateString(NULL, refused, strlen(refused));
        return REDISMODULE_ERR;
    }
    bool changed = !s->held || strcmp(*s->value, text) != 0;
    if (s->held) RedisModule_FreeString(NULL, s->held);
    s->held = RedisModule_CreateStringFromString(NULL, value);
    *s->value = RedisModule_StringPtrLen(s->held, NULL);
    if (changed) tell_listeners(s->name, *s->value);
    return REDISMODULE_OK;
}

static long long get_number(const char *name, void *privdata) {
    (void)name;
    return *((const numeric_setting *)privdata)->value;
}

static void number_text(const numeric_setting *s, char out[24]) {
    snprintf(out, 24, "%lld", *s->value);
}

static int set_number(const char *name, long long value, void *privdata, RedisModuleString **err) {
    (void)name;
    (void)err;
    const numeric_setting *s = privdata;
    bool changed = *s->value != value;
    *s->value = value;
    char text[24];
    number_text(s, text);
    if (changed) tell_listeners(s->name, text);
    return REDISMODULE_OK;
}

int settings_init(RedisModuleCtx *ctx) {
    int failed = 0;
    for (size_t i = 0; i < TEXTS; i++) {
        text_setting *s = &texts[i];
        failed |= RedisModule_RegisterStringConfig(ctx, s->name, s->standard, s->flags, get_text, set_text, NULL, s);
    }
    for (size_t i = 0; i < NUMBERS; i++) {
        const numeric_setting *s = &numbers[i];
        failed |= RedisModule_RegisterNumericConfig(ctx, s->name, s->standard, s->flags, s->min, s->max, get_number,
                                                    set_number, NULL, (void *)s);
    }
    failed |= RedisModule_LoadConfigs(ctx);
    if (failed) {
        RedisModule_Log(ctx, REDISMODULE_LOGLEVEL_WARNING, "not loaded: a keymiss.* setting was refused (see above)");
        return REDISMODULE_ERR;
    }
    loaded = true;
    return REDISMODULE_OK;
}

void settings_on_change(settings_listener listener) {
    assert(listener_count < LISTENERS_MAX);
    listeners[listener_count++] = listener;
}

void settings_each(void (*visit)(void *arg, const char *name, const char *value), void *arg) {
    for (size_t i = 0; i < TEXTS; i++) visit(arg, texts[i].name, *texts[i].value);
    for (size_t i = 0; i < NUMBERS; i++) {
        char text[24];
        number_text(&numbers[i], text);
        visit(arg, numbers[i].name, text);
    }
}

int settings_suggest(RedisModuleCtx *ctx, const char *name, const char *value) {
    for (size_t i = 0; i < NUMBERS; i++) {
        if (strcmp(numbers[i].name, name) == 0 && *numbers[i].value != numbers[i].standard) return REDISMODULE_OK;
    }
    return settings_set(ctx, name, value);
}

int settings_set(RedisModuleCtx *ctx, const char *name, const char *value) {
    char full[64];
    snprintf(full, sizeof(full), "keymiss.%s", name);
    RedisModuleCallReply *reply = RedisModule_Call(ctx, "CONFIG", "Eccc", "SET", full, value);
    int set = reply && RedisModule_CallReplyType(reply) != REDISMODULE_REPLY_ERROR ? REDISMODULE_OK : REDISMODULE_ERR;
    if (reply) RedisModule_FreeCallReply(reply);
    return set;
}
