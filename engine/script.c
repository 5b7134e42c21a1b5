#include "script.h"

#include "memory.h"

enum { DEVICE, TAG, SOURCE, WORDS }; /* of script.words */

script *script_new(const script_args *args) {
    script *s = memory.alloc(sizeof *s);
    const slice words[WORDS] = {[DEVICE] = args->device, [TAG] = args->tag, [SOURCE] = args->source};
    sha256 sum;
    *s = (script){.words = names_copy(words, WORDS),
                  .entry_points = names_copy(args->entry_points, args->entry_point_count)};
    atomic_init(&s->refs, 1);
    sha256_init(&sum);
    sha256_add(&sum, args->source.data, args->source.len);
    sha256_end_hex(&sum, s->digest);
    return s;
}

script *script_copy(const script *s) {
    script_args args = {.device = script_device(s),
                        .tag = script_tag(s),
                        .source = script_source(s),
                        .entry_points = s->entry_points.items,
                        .entry_point_count = s->entry_points.count};
    return script_new(&args);
}

slice script_device(const script *s) {
    return s->words.items[DEVICE];
}

slice script_tag(const script *s) {
    return s->words.items[TAG];
}

slice script_source(const script *s) {
    return s->words.items[SOURCE];
}

size_t script_bytes(const script *s) {
    return sizeof *s + names_bytes(&s->words) + names_bytes(&s->entry_points) + stored_value_bytes(&s->stored);
}

script *script_hold(script *s) {
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void script_release(script *s) {
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) return;
    names_free(&s->words);
    names_free(&s->entry_points);
    stored_value_clear(&s->stored);
    memory.free(s);
}

void script_to_wire(const script *s, frame_writer *out) {
    frame_add(out, s->digest, SHA256_HEX_CHARS);
    frame_add(out, script_device(s).data, script_device(s).len);
    frame_add(out, script_source(s).data, script_source(s).len);
    names_to_wire(&s->entry_points, out);
}
