/* graph.h: what the models worker runs of a DAG: models and scripts on numbered tensors (JOB DAG of docs/channel.md).
 * Pure.
 *
 * 1. Tensors have numbers: first those that are there, then the outputs of each op in turn. A later tensor of the same
 *    name is another one, so the order of ops says nothing but that.
 * 2. The graph holds its models, scripts and tensors: their keys may go while it runs.
 * 3. Only tensors that an op reads are sent, only wanted ones come back. */
#ifndef KEYMISS_GRAPH_H
#define KEYMISS_GRAPH_H

#include "model.h"
#include "script.h"
#include "script_run_args.h"

typedef struct graph_op {
    model *model;                         /* held; NULL: a script */
    script *script;                       /* held */
    const script_run_args *args;          /* of the script; these three are not read after graph_encode */
    const slice *argv;                    /* what args point into */
    const size_t *inputs;                 /* numbers of tensors */
    size_t input_count, first_output, output_count;
    slice reply; /* of graph_decode: +OK, +NA or an error; in the graph's memory */
} graph_op;

typedef struct graph {
    size_t local_count, tensor_count; /* local: those that are there */
    tensor **tensors;                 /* held; NULL: not made */
    bool *wanted;                     /* by number, of outputs */
    graph_op *ops;
    size_t op_count;
    char *replies; /* what those of ops point into */
} graph;

/* Everything zero, for the caller to fill in. */
graph *graph_new(size_t locals, size_t outputs, size_t ops);
void graph_free(graph *g);

/* The elements after the deadline of JOB DAG; not all of them once they have more bytes than that, which no frame may have. */
void graph_encode(const graph *g, frame_writer *out, size_t max_bytes);

typedef enum graph_end {
    GRAPH_MALFORMED,
    GRAPH_FAILED,    /* as a whole; *error is its reply */
    GRAPH_DONE       /* every op has its reply, every wanted tensor that was made is there */
} graph_end;
/* The elements after the job of its DONE. Adds to the counters of models and scripts. */
graph_end graph_decode(graph *g, const frame *done, slice *error);

/* After GRAPH_DONE: did it do what it should? Did every op? */
bool graph_op_succeeded(const graph_op *op);
bool graph_succeeded(const graph *g);

/* May it be run a second time? Not where a script might have changed something. */
bool graph_repeatable(const graph *g);

#endif
