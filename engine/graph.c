#include "graph.h"

#include <string.h>

#include "memory.h"

#define NOT_SENT SIZE_MAX

graph *graph_new(size_t locals, size_t outputs, size_t ops) {
    graph *g = memory.alloc(sizeof *g);
    size_t count = locals + outputs;
    *g = (graph){.local_count = locals, .tensor_count = count, .op_count = ops};
    g->tensors = memory.alloc(count * sizeof *g->tensors);
    g->wanted = memory.alloc(count * sizeof *g->wanted);
    g->ops = memory.alloc(ops * sizeof *g->ops);
    for (size_t i = 0; i < count; i++) g->tensors[i] = NULL, g->wanted[i] = false;
    for (size_t i = 0; i < ops; i++) g->ops[i] = (graph_op){0};
    return g;
}

void graph_free(graph *g) {
    if (g == NULL) return;
    for (size_t i = 0; i < g->tensor_count; i++) tensor_release(g->tensors[i]);
    for (size_t i = 0; i < g->op_count; i++) {
        model_release(g->ops[i].model);
        script_release(g->ops[i].script);
    }
    memory.free(g->replies);
    memory.free(g->ops);
    memory.free(g->wanted);
    memory.free(g->tensors);
    memory.free(g);
}

static void add_slices(frame_writer *out, const slice *items, size_t count) {
    frame_add_number(out, (long long)count);
    for (size_t i = 0; i < count; i++) frame_add(out, items[i].data, items[i].len);
}

/* <n> <input>*n, by the numbers of the frame. */
static void add_inputs(frame_writer *out, const graph_op *op, const size_t *numbers) {
    frame_add_number(out, (long long)op->input_count);
    for (size_t i = 0; i < op->input_count; i++) frame_add_number(out, (long long)numbers[op->inputs[i]]);
}

static void add_op(frame_writer *out, const graph_op *op, const size_t *numbers) {
    if (op->model != NULL) {
        frame_add_text(out, "MODEL");
        frame_add_slice(out, model_to_wire(op->model));
        frame_add_number(out, (long long)op->output_count);
        add_inputs(out, op, numbers);
        return;
    }
    frame_add_text(out, "SCRIPT");
    script_to_wire(op->script, out);
    frame_add(out, op->args->function.data, op->args->function.len);
    frame_add_number(out, (long long)op->output_count);
    add_inputs(out, op, numbers);
    frame_add_number(out, op->args->list_at);
    add_slices(out, op->argv + op->args->first_key, op->args->key_count);
    add_slices(out, op->argv + op->args->first_arg, op->args->arg_count);
}

/* The numbers of the frame, where local tensors that no op reads have none. Returns how many local ones have. */
static size_t number_tensors(const graph *g, size_t *numbers) {
    size_t next = 0, sent;
    for (size_t i = 0; i < g->tensor_count; i++) numbers[i] = NOT_SENT;
    for (size_t i = 0; i < g->op_count; i++) {
        for (size_t j = 0; j < g->ops[i].input_count; j++) numbers[g->ops[i].inputs[j]] = 0; /* is read */
    }
    for (size_t i = 0; i < g->local_count; i++) {
        if (numbers[i] != NOT_SENT) numbers[i] = next++;
    }
    sent = next;
    for (size_t i = g->local_count; i < g->tensor_count; i++) numbers[i] = next++;
    return sent;
}

static size_t count_wanted(const graph *g) {
    size_t count = 0;
    for (size_t i = 0; i < g->tensor_count; i++) count += g->wanted[i];
    return count;
}

/* <n> (<dtype> <shape> <data>)*n <n> <op>*n <n> <wanted>*n */
void graph_encode(const graph *g, frame_writer *out, size_t max_bytes) {
    size_t *numbers = memory.alloc(g->tensor_count * sizeof *numbers);
    frame_add_number(out, (long long)number_tensors(g, numbers));
    for (size_t i = 0; i < g->local_count && out->len <= max_bytes; i++) {
        if (numbers[i] != NOT_SENT) tensor_to_wire(g->tensors[i], out);
    }
    frame_add_number(out, (long long)g->op_count);
    for (size_t i = 0; i < g->op_count && out->len <= max_bytes; i++) add_op(out, &g->ops[i], numbers);
    frame_add_number(out, (long long)count_wanted(g));
    for (size_t i = 0; i < g->tensor_count; i++) {
        if (g->wanted[i]) frame_add_number(out, (long long)numbers[i]);
    }
    memory.free(numbers);
}

/* ---- the answer: <reply> <n> (<reply> <counters>)*n <n> (<dtype> <shape> <data>)*n ---- */

enum { OP_PARTS = 1 + RUN_COUNTER_PARTS, TENSOR_PARTS = 3 };

/* <n>, with which so many groups of elements begin. */
static bool count_is(const frame *f, size_t at, size_t expected, size_t group) {
    long long n;
    return at < f->count && slice_number(f->parts[at], &n) && n >= 0 && (unsigned long long)n == expected &&
           f->count - at > expected * group;
}

static bool ops_are_right(const slice *parts, size_t count) {
    run_counters counters;
    for (size_t i = 0; i < count; i++, parts += OP_PARTS) {
        if (!run_reply_is_whole(parts[0]) || (parts[0].data[0] != '+' && parts[0].data[0] != '-')) return false;
        if (!run_counters_read(parts + 1, &counters)) return false;
    }
    return true;
}

static bool is_made(const slice *parts) {
    return parts[0].len > 0;
}

/* False if one is no tensor; then none is kept. */
static bool read_wanted(graph *g, const slice *parts) {
    const char *error = NULL;
    for (size_t i = 0; i < g->tensor_count && error == NULL; i++) {
        if (!g->wanted[i]) continue;
        if (is_made(parts)) g->tensors[i] = tensor_from_wire(parts[0], parts[1], parts[2], &error);
        parts += TENSOR_PARTS;
    }
    for (size_t i = g->local_count; i < g->tensor_count && error != NULL; i++) {
        tensor_release(g->tensors[i]);
        g->tensors[i] = NULL;
    }
    return error == NULL;
}

/* The replies are copied one after the other into one block. */
static void read_ops(graph *g, const slice *parts) {
    size_t bytes = 0, at = 0;
    for (size_t i = 0; i < g->op_count; i++) bytes += parts[OP_PARTS * i].len;
    g->replies = memory.alloc(bytes);
    for (graph_op *op = g->ops; op < g->ops + g->op_count; op++, parts += OP_PARTS) {
        run_counters counters;
        run_counters_read(parts + 1, &counters);
        run_counters_add(op->model != NULL ? &op->model->counters : &op->script->counters, &counters);
        memcpy(g->replies + at, parts[0].data, parts[0].len);
        op->reply = (slice){g->replies + at, parts[0].len};
        at += parts[0].len;
    }
}

/* An op that did what it should gave every output. */
static bool outputs_are_there(const graph *g) {
    for (const graph_op *op = g->ops; op < g->ops + g->op_count; op++) {
        for (size_t i = op->first_output; i < op->first_output + op->output_count; i++) {
            if (graph_op_succeeded(op) && g->wanted[i] && g->tensors[i] == NULL) return false;
        }
    }
    return true;
}

graph_end graph_decode(graph *g, const frame *done, slice *error) {
    size_t ops = 2, tensors = ops + OP_PARTS * g->op_count + 1, wanted = count_wanted(g);
    if (done->count == 0 || !run_reply_is_whole(done->parts[0])) return GRAPH_MALFORMED;
    *error = done->parts[0];
    if (run_reply_is_error(*error)) return GRAPH_FAILED;
    if (!count_is(done, ops - 1, g->op_count, OP_PARTS) || !count_is(done, tensors - 1, wanted, TENSOR_PARTS) ||
        done->count != tensors + TENSOR_PARTS * wanted || !ops_are_right(done->parts + ops, g->op_count) ||
        !read_wanted(g, done->parts + tensors))
        return GRAPH_MALFORMED;
    read_ops(g, done->parts + ops);
    return outputs_are_there(g) ? GRAPH_DONE : GRAPH_MALFORMED;
}

bool graph_op_succeeded(const graph_op *op) {
    return slice_is(op->reply, "+OK\r\n");
}

bool graph_succeeded(const graph *g) {
    for (size_t i = 0; i < g->op_count; i++) {
        if (!graph_op_succeeded(&g->ops[i])) return false;
    }
    return true;
}

bool graph_repeatable(const graph *g) {
    for (size_t i = 0; i < g->op_count; i++) {
        if (g->ops[i].script != NULL) return false;
    }
    return true;
}
