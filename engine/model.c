#include "model.h"

#include "memory.h"

model *model_new(const model_args *args, blob *bytes) {
    model *m = memory.alloc(sizeof *m);
    slice words[2] = {args->device, args->tag};
    *m = (model){.backend = args->backend,
                 .words = names_copy(words, 2),
                 .batchsize = args->batchsize,
                 .minbatchsize = args->minbatchsize,
                 .minbatchtimeout_ms = args->minbatchtimeout_ms,
                 .inputs = names_copy(args->inputs, args->input_count),
                 .outputs = names_copy(args->outputs, args->output_count),
                 .bytes = bytes};
    atomic_init(&m->refs, 1);
    return m;
}

static void forget_wire(model *m) {
    memory.free((char *)m->wire.data);
    m->wire = (slice){NULL, 0};
}

void model_set_names(model *m, const slice *inputs, size_t input_count, const slice *outputs, size_t output_count) {
    forget_wire(m);
    names_free(&m->inputs);
    names_free(&m->outputs);
    m->inputs = names_copy(inputs, input_count);
    m->outputs = names_copy(outputs, output_count);
}

slice model_device(const model *m) {
    return m->words.items[0];
}

slice model_tag(const model *m) {
    return m->words.items[1];
}

model *model_hold(model *m) {
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void model_release(model *m) {
    if (m == NULL || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1) return;
    blob_release(m->bytes);
    names_free(&m->words);
    names_free(&m->inputs);
    names_free(&m->outputs);
    forget_wire(m);
    stored_value_clear(&m->stored);
    memory.free(m);
}

model *model_copy(const model *m) {
    model_args args = {.backend = m->backend,
                       .device = model_device(m),
                       .tag = model_tag(m),
                       .batchsize = m->batchsize,
                       .minbatchsize = m->minbatchsize,
                       .minbatchtimeout_ms = m->minbatchtimeout_ms,
                       .inputs = m->inputs.items,
                       .input_count = m->inputs.count,
                       .outputs = m->outputs.items,
                       .output_count = m->outputs.count};
    return model_new(&args, blob_hold(m->bytes));
}

size_t model_bytes(const model *m) {
    size_t said = names_bytes(&m->words) + names_bytes(&m->inputs) + names_bytes(&m->outputs) +
                  stored_value_bytes(&m->stored);
    return sizeof *m + said + m->bytes->size;
}

slice model_to_wire(model *m) {
    if (m->wire.data == NULL) {
        frame_writer parts;
        frame_init(&parts);
        frame_add_text(&parts, m->bytes->path);
        frame_add_text(&parts, m->bytes->digest);
        frame_add_text(&parts, model_backend_name(m->backend));
        frame_add(&parts, model_device(m).data, model_device(m).len);
        frame_add(&parts, model_tag(m).data, model_tag(m).len);
        frame_add_number(&parts, m->batchsize);
        frame_add_number(&parts, m->minbatchsize);
        frame_add_number(&parts, m->minbatchtimeout_ms);
        names_to_wire(&m->inputs, &parts);
        names_to_wire(&m->outputs, &parts);
        m->wire = frame_whole(&parts);
        frame_free(&parts);
    }
    return m->wire;
}
