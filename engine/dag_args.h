/* dag_args.h: the arguments of AI.DAGEXECUTE, AI.DAGRUN and their read-only forms. Pure, so that it is fuzzed.
 *
 * 1. What is parsed points into argv, and costs memory in proportion to it: no number in it is believed before that
 *    many arguments are seen.
 * 2. Parsing stops at the first error, but says what was found before it: keys are looked up in the order in which they
 *    stand, so a key that is missing is told before a mistake behind it.
 * 3. Names exist only here. dag_resolve gives every tensor a number of its own: a later tensor of the same name is
 *    another one. */
#ifndef KEYMISS_DAG_ARGS_H
#define KEYMISS_DAG_ARGS_H

#include "script_run_args.h"

typedef enum dag_form { DAG_EXECUTE, DAG_EXECUTE_RO, DAG_RUN, DAG_RUN_RO, DAG_FORMS } dag_form;

enum { DAG_MAX_OPS = 4096 }; /* far above any that was written; bounds the reply */

typedef enum dag_op_kind { DAG_TENSORSET, DAG_TENSORGET, DAG_MODEL, DAG_SCRIPT } dag_op_kind;

/* One command of the DAG. */
typedef struct dag_op {
    dag_op_kind kind;
    const slice *argv; /* its own, its name first */
    size_t argc, first; /* argv[0] is argument `first` of the whole */
    bool has_key;       /* argv[1] is the key of a model or script, to be looked up even if what follows is wrong */
    union { /* positions are those in its own argv */
        tensorget_args get;
        run_args model;
        script_run_args script;
    } args;
    /* Of dag_resolve: */
    const size_t *inputs; /* tensors that it reads, of a TENSORGET one */
    size_t input_count;
    size_t first_output, output_count; /* tensors that it makes */
} dag_op;

typedef struct dag_args {
    size_t first_load, load_count, first_persist, persist_count, routing; /* positions in argv; 0: not given */
    long long timeout_ms;                                                 /* 0: none */
    dag_op *ops; /* where there is an error in one of them, it is the last */
    size_t op_count;
    const char *error; /* NULL: none */
    slice unexpected;  /* if not empty, what the error ends with */
    /* Tensors are numbered: first LOAD's, then those set, then the outputs of each op in turn. */
    size_t local_count, tensor_count; /* local: LOAD's and those set */
    size_t run_count;                 /* of models and scripts */
    /* Of dag_resolve: */
    const size_t *persisted;          /* the tensor of each name */
    bool *wanted;                     /* by number: an output that is read by TENSORGET or persisted */
    size_t *numbers;                  /* what `inputs` and `persisted` point into */
} dag_args;

/* [LOAD n key ...] [PERSIST n key ...] [ROUTING key] [TIMEOUT ms] |> command |> command ... */
void parse_dag(dag_form form, const slice *argv, size_t argc, dag_args *out);
/* After parsing without an error: NULL, or the error of the first name that is of no tensor. */
const char *dag_resolve(dag_args *args, const slice *argv);
void dag_args_free(dag_args *args);

#endif
