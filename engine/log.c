/* log.c: see log.h. */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "redis_api.h"
#include "settings.h"
#include "unit.h"

enum {
    LINES_PER_S = 10, /* of requests: enough to see what is wrong, and no disk is filled by them */
    RUN_DIGITS = 6,   /* requests of two runs of a server that are logged in one file differ */
};

static const char *const level_names[] = {REDISMODULE_LOGLEVEL_DEBUG, REDISMODULE_LOGLEVEL_VERBOSE,
                                          REDISMODULE_LOGLEVEL_NOTICE, REDISMODULE_LOGLEVEL_WARNING};

static struct {
    uint64_t second_us; /* when the present second began */
    int lines;          /* in it */
    long long left_out; /* since the last line */
} quota;

static bool is_json(void) {
    return settings.log_format[0] == 'j';
}

bool log_wants(log_level level) {
    static const char initials[] = "dvnw";
    return (long)level >= strchr(initials, settings.log_level[0]) - initials;
}

log_level log_level_named(slice name) {
    for (int level = LEVEL_DEBUG; level < LEVEL_WARNING; level++) {
        if (slice_is(name, level_names[level])) return (log_level)level;
    }
    return LEVEL_WARNING;
}

/* What does not change while the server runs. */
static const char *server_fact(const char *field, char *out, size_t size) {
    if (out[0] == 0) {
        RedisModuleServerInfoData *info = RedisModule_GetServerInfo(unit_server_context(), "server");
        const char *value = RedisModule_ServerInfoGetFieldC(info, field);
        snprintf(out, size, "%s", value ? value : "0");
        RedisModule_FreeServerInfo(unit_server_context(), info);
    }
    return out;
}

static const char *shard_name(void) {
    static char port[8];
    return settings.shard_name[0] ? settings.shard_name : server_fact("tcp_port", port, sizeof(port));
}

const char *log_request_name(char out[REQUEST_NAME_MAX], unsigned long long request) {
    static char run[RUN_DIGITS + 1];
    snprintf(out, REQUEST_NAME_MAX, "%s-%s-%llu", shard_name(), server_fact("run_id", run, sizeof(run)), request);
    return out;
}

static void add_time(log_line *l) {
    char text[40];
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t len = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + len, sizeof(text) - len, ".%03ldZ", now.tv_nsec / 1000000);
    log_line_word(l, "time", text);
}

/* The server's log tells the time and the level of a line of text, and whose log it is. */
static void begin(log_line *l, log_level level, const char *worker, const char *event, const char *message) {
    log_line_begin(l, is_json(), message ? message : event);
    if (!l->json) return;
    add_time(l);
    log_line_word(l, "level", level_names[level]);
    log_line_word(l, "shard", shard_name());
    log_line_word(l, "worker", worker);
    log_line_word(l, "event", event);
    if (message) log_line_word(l, "message", message);
}

void log_begin(log_line *l, log_level level, const char *event, unsigned long long request) {
    char name[REQUEST_NAME_MAX];
    begin(l, level, "module", event, NULL);
    if (request) log_line_word(l, "request", log_request_name(name, request));
    if (quota.left_out && level >= LEVEL_NOTICE) {
        log_line_number(l, "left_out", quota.left_out);
        quota.left_out = 0;
    }
}

void log_end(log_line *l, log_level level) {
    log_line_end(l);
    if (log_wants(level)) RedisModule_Log(unit_server_context(), level_names[level], "%s", l->text);
}

void log_note(log_level level, const char *format, ...) {
    char message[LOG_VALUE_MAX + 1];
    log_line l;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    for (char *c = message; *c; c++) {
        if ((unsigned char)*c < ' ') *c = ' '; /* one line, of text too, whose message is not escaped */
    }
    begin(&l, level, "module", "log", message);
    log_end(&l, level);
}

void log_worker(log_level level, const char *worker, slice text) {
    int len = text.len < LOG_LINE_MAX ? (int)text.len : LOG_LINE_MAX;
    if (!is_json()) {
        RedisModule_Log(unit_server_context(), level_names[level], "%s worker: %.*s", worker, len, text.data);
    } else if (text.len > 0 && text.data[0] == '{') { /* else it was written when the format was another one */
        RedisModule_Log(unit_server_context(), level_names[level], "%.*s", len, text.data);
    } else {
        char message[LOG_VALUE_MAX + 1];
        log_line l;
        snprintf(message, sizeof(message), "%.*s", len, text.data);
        begin(&l, level, worker, "log", message);
        log_end(&l, level);
    }
}

bool log_may(void) {
    uint64_t now_us = RedisModule_MonotonicMicroseconds();
    if (now_us - quota.second_us > 1000000) {
        quota.second_us = now_us;
        quota.lines = 0;
    }
    if (quota.lines == LINES_PER_S) {
        quota.left_out++;
        return false;
    }
    quota.lines++;
    return true;
}
