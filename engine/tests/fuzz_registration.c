/* Any bytes, cut into parts at line ends, as a registration, which is then asked and entered as any other would be. */
#include "../hooked_commands.c"
#include "../memory.c"
#include "../prefix.c"
#include "../registration.c"
#include "../resp.c"

#include <stdlib.h>

enum { MOST_PARTS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void describe(hooked_command *command) {
    command->known = command->name.len & 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    slice parts[MOST_PARTS];
    size_t count = 0;
    const char *text = (const char *)data, *end = text + size;
    while (text < end && count < MOST_PARTS) {
        const char *line_end = memchr(text, '\n', (size_t)(end - text));
        if (!line_end) line_end = end;
        parts[count++] = (slice){text, (size_t)(line_end - text)};
        text = line_end + 1;
    }
    const char *error;
    registration *r = registration_parse(parts, count, &error);
    if (!r != (error != NULL)) abort();
    if (!r) return 0;
    registration_wants_event(r, "keymiss", 7);
    registration_wants_type(r, "hash");
    hooked_commands_add(r, describe);
    if (r->commands.count > 0) {
        slice name = r->commands.items[0];
        hooked_command *command = hooked_commands_find(name.data, name.len);
        if (!command || command->registrations_count == 0) abort();
        prefix_table_matches(command->patterns, "key", 3);
    }
    hooked_commands_remove(r);
    registration_release(r);
    if (hooked_commands_count != 0) abort();
    return 0;
}
