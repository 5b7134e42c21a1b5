#include "registration.h"

#include "memory.h"

#include <string.h>

/* Places in the frame. */
enum { AT_ID, AT_BLOB, AT_KIND, AT_MODE, AT_FLAGS, AT_PREFIX, FIXED_PARTS };

static const char *const ADDS_TO_A_STREAM = "xadd";

static bool parse_kind(slice text, registration_kind *kind) {
    static const struct {
        const char *name;
        registration_kind kind;
    } kinds[] = {{"keys", REGISTRATION_KEYS},
                 {"stream", REGISTRATION_STREAM},
                 {"hook", REGISTRATION_HOOK},
                 {"trigger", REGISTRATION_OTHER},
                 {"none", REGISTRATION_OTHER},
                 {"gone", REGISTRATION_GONE}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (!slice_is(text, kinds[i].name)) continue;
        *kind = kinds[i].kind;
        return true;
    }
    return false;
}

static bool parse_mode(slice text, registration_mode *mode) {
    static const char *const modes[] = {"async", "async_local", "sync"};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (!slice_is(text, modes[i])) continue;
        *mode = (registration_mode)i;
        return true;
    }
    return false;
}

/* In place: the bytes are the registration's own. */
static void make_lower(const name_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        char *text = (char *)(uintptr_t)list->items[i].data;
        for (size_t j = 0; j < list->items[i].len; j++) text[j] = ascii_lower(text[j]);
    }
}

/* Reads `<n> <name>*n` at *at. */
static const char *parse_names(const slice *parts, size_t count, size_t *at, name_list *out) {
    long long n;
    if (*at >= count || !slice_number(parts[*at], &n) || n < 0) return "ERR registration: a count is missing";
    if (n > REGISTRATION_MAX_NAMES) return "ERR registration: too many events, types or commands";
    ++*at;
    if ((size_t)n > count - *at) return "ERR registration: fewer names than counted";
    for (size_t i = 0; i < (size_t)n; i++) {
        size_t len = parts[*at + i].len;
        if (len == 0 || len > REGISTRATION_MAX_NAME_BYTES) return "ERR registration: a name is empty or too long";
    }
    *out = (name_list){parts + *at, (size_t)n};
    *at += (size_t)n;
    return NULL;
}

static const char *parse_parts(registration *r) {
    const slice *parts = r->parts;
    size_t count = r->parts_count, at = FIXED_PARTS;
    if (count < FIXED_PARTS) return "ERR registration: fields are missing";
    r->id = parts[AT_ID];
    r->prefix = parts[AT_PREFIX];
    if (r->id.len == 0 || r->id.len > REGISTRATION_MAX_ID_BYTES) return "ERR registration: the id is empty or too long";
    if (r->prefix.len > REGISTRATION_MAX_PREFIX_BYTES) return "ERR registration: the prefix is too long";
    if (!parse_kind(parts[AT_KIND], &r->kind)) return "ERR registration: unknown kind";
    if (!parse_mode(parts[AT_MODE], &r->mode)) return "ERR registration: unknown mode";
    slice flags = parts[AT_FLAGS];
    r->single_flight = flags.len && memchr(flags.data, 'f', flags.len);
    r->wants_value = flags.len && memchr(flags.data, 'v', flags.len);
    r->paused = flags.len && memchr(flags.data, 'p', flags.len);

    const char *error = parse_names(parts, count, &at, &r->events);
    if (!error) error = parse_names(parts, count, &at, &r->types);
    if (!error) error = parse_names(parts, count, &at, &r->commands);
    if (!error && at != count) error = "ERR registration: more fields than expected";
    if (error) return error;
    make_lower(&r->events);
    make_lower(&r->commands);
    return NULL;
}

registration *registration_parse(const slice *parts, size_t count, const char **error) {
    size_t size = 0;
    for (size_t i = 0; i < count; i++) size += parts[i].len;

    registration *r = memory.alloc(sizeof *r);
    *r = (registration){.references = 1, .parts_count = count};
    r->parts = memory.alloc((count ? count : 1) * sizeof *r->parts);
    r->bytes = memory.alloc(size ? size : 1);
    char *to = r->bytes;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].len) memcpy(to, parts[i].data, parts[i].len);
        r->parts[i] = (slice){to, parts[i].len};
        to += parts[i].len;
    }
    *error = parse_parts(r);
    if (!*error) return r;
    registration_release(r);
    return NULL;
}

registration *registration_hold(registration *r) {
    r->references++;
    return r;
}

void registration_release(registration *r) {
    if (!r || --r->references > 0) return;
    memory.free(r->parts);
    memory.free(r->bytes);
    memory.free(r);
}

bool name_list_has(const name_list *list, const char *text, size_t len) {
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].len == len && memcmp(list->items[i].data, text, len) == 0) return true;
    }
    return false;
}

bool registration_wants_event(const registration *r, const char *event, size_t len) {
    if (r->events.count > 0) return name_list_has(&r->events, event, len);
    if (r->kind == REGISTRATION_STREAM) return strlen(ADDS_TO_A_STREAM) == len && memcmp(event, ADDS_TO_A_STREAM, len) == 0;
    return r->kind == REGISTRATION_KEYS;
}

static bool is_of_a_module(const char *type) {
    static const char *const own[] = {"string", "list", "hash", "set", "zset", "stream", "empty"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (strcmp(type, own[i]) == 0) return false;
    }
    return true;
}

bool registration_wants_type(const registration *r, const char *type) {
    if (r->types.count > 0) {
        return name_list_has(&r->types, type, strlen(type)) || (is_of_a_module(type) && name_list_has(&r->types, "module", 6));
    }
    return r->kind != REGISTRATION_STREAM || strcmp(type, "stream") == 0;
}
