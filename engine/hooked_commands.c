#include "hooked_commands.h"

#include "memory.h"

#include <string.h>

/* Few commands are ever hooked: a fixed number of buckets keeps the common look-up to one hash and one null pointer. */
enum { BUCKETS = 512 };

static hooked_command *buckets[BUCKETS];
size_t hooked_commands_count;

/* FNV-1a of the lower-case name. */
static unsigned long hash_name(const char *name, size_t len) {
    unsigned long h = 2166136261u;
    for (size_t i = 0; i < len; i++) h = ((h ^ (unsigned char)ascii_lower(name[i])) * 16777619u) & 0xffffffffu;
    return h;
}

static bool same_name(const hooked_command *c, unsigned long hash, const char *name, size_t len) {
    if (c->hash != hash || c->name.len != len) return false;
    for (size_t i = 0; i < len; i++) {
        if (c->name.data[i] != ascii_lower(name[i])) return false;
    }
    return true;
}

hooked_command *hooked_commands_find(const char *name, size_t len) {
    if (len > REGISTRATION_MAX_NAME_BYTES) return NULL;
    unsigned long hash = hash_name(name, len);
    hooked_command *c = buckets[hash % BUCKETS];
    while (c && !same_name(c, hash, name, len)) c = c->next;
    return c;
}

/* Two registrations of one command may name it twice; once is enough. */
static bool already_there(const hooked_command *c, const registration *r) {
    return c->registrations_count > 0 && c->registrations[c->registrations_count - 1] == r;
}

static hooked_command *command_new(slice name, hooked_commands_describe describe) {
    hooked_command *c = memory.alloc(sizeof *c);
    unsigned long hash = hash_name(name.data, name.len);
    *c = (hooked_command){.name = name, .hash = hash, .patterns = prefix_table_new(), .next = buckets[hash % BUCKETS]};
    buckets[hash % BUCKETS] = c;
    hooked_commands_count++;
    describe(c);
    return c;
}

static void command_free(hooked_command *c) {
    hooked_command **link = &buckets[c->hash % BUCKETS];
    while (*link != c) link = &(*link)->next;
    *link = c->next;
    hooked_commands_count--;
    prefix_table_free(c->patterns);
    memory.free(c->registrations);
    memory.free(c);
}

void hooked_commands_add(registration *r, hooked_commands_describe describe) {
    for (size_t i = 0; i < r->commands.count; i++) {
        slice name = r->commands.items[i];
        hooked_command *c = hooked_commands_find(name.data, name.len);
        if (!c) c = command_new(name, describe);
        if (already_there(c, r)) continue;
        c->registrations = memory.realloc(c->registrations, (c->registrations_count + 1) * sizeof *c->registrations);
        c->registrations[c->registrations_count++] = r;
        prefix_table_add(c->patterns, r->prefix.data, r->prefix.len, r);
    }
}

/* The name must not point into a registration that goes. */
static void lend_name_from_another(hooked_command *c) {
    const registration *r = c->registrations[0];
    for (size_t i = 0; i < r->commands.count; i++) {
        slice name = r->commands.items[i];
        if (name.len == c->name.len && memcmp(name.data, c->name.data, name.len) == 0) c->name = name;
    }
}

void hooked_commands_remove(registration *r) {
    for (size_t i = 0; i < r->commands.count; i++) {
        slice name = r->commands.items[i];
        hooked_command *c = hooked_commands_find(name.data, name.len);
        if (!c) continue;
        size_t at = 0;
        while (at < c->registrations_count && c->registrations[at] != r) at++;
        if (at == c->registrations_count) continue;
        memmove(&c->registrations[at], &c->registrations[at + 1],
                (c->registrations_count - at - 1) * sizeof *c->registrations);
        prefix_table_remove(c->patterns, r->prefix.data, r->prefix.len, r);
        if (--c->registrations_count == 0) {
            command_free(c);
        } else {
            lend_name_from_another(c);
        }
    }
}

void hooked_commands_refresh(hooked_commands_describe describe) {
    for (size_t i = 0; i < BUCKETS; i++) {
        for (hooked_command *c = buckets[i]; c; c = c->next) {
            if (!c->known) describe(c);
        }
    }
}
