/* Any bytes as the arguments of AI.SCRIPTEXECUTE, AI.SCRIPTRUN and of a DAG in each of its forms, whose names are then
 * resolved. */
#include "../ai_args.c"
#include "../dag_args.c"
#include "../memory.c"
#include "../resp.c"
#include "../script_run_args.c"
#include "../tensor.c"

#include "fuzz_arguments.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const WORDS[] = {
    "a", "b", "c", "1", "2", "3", "0", "-1", "9223372036854775807", "|>", "|>", "LOAD", "PERSIST", "ROUTING",
    "TIMEOUT", "AI.TENSORSET", "AI.TENSORGET", "AI.MODELEXECUTE", "AI.MODELRUN", "AI.SCRIPTEXECUTE",
    "AI.SCRIPTRUN", "FLOAT", "VALUES", "META", "KEYS", "INPUTS", "ARGS", "OUTPUTS", "$",
};
enum { WORD_COUNT = sizeof WORDS / sizeof *WORDS };

static bool is_inside(size_t first, size_t count, size_t argc) {
    return count == 0 || (first > 0 && first < argc && count <= argc - first);
}

/* Also after an error: the server asks for keys whether the command is right or not. */
static void check_script(const script_run_args *run, size_t argc) {
    check(is_inside(run->first_key, run->key_count, argc) && is_inside(run->first_input, run->input_count, argc));
    check(is_inside(run->first_arg, run->arg_count, argc) && is_inside(run->first_output, run->output_count, argc));
    check(run->input_count == 0 || script_run_input(run, run->input_count - 1) < argc);
    check(run->list_at == SCRIPT_NO_LIST || (size_t)run->list_at <= run->input_count);
}

/* Every tensor that is read was made before, and every one is made once. */
static void check_numbers(const dag_args *dag) {
    size_t sets = dag->load_count, outputs = dag->local_count;
    for (size_t i = 0; i < dag->op_count; i++) {
        const dag_op *op = &dag->ops[i];
        for (size_t j = 0; j < op->input_count; j++)
            check(op->inputs[j] < sets || (op->inputs[j] >= dag->local_count && op->inputs[j] < outputs));
        size_t *made = op->kind == DAG_TENSORSET ? &sets : &outputs;
        check(op->output_count == 0 || op->first_output == *made);
        *made += op->output_count;
        for (size_t j = 0; j < op->input_count && op->kind == DAG_TENSORGET; j++)
            check(dag->wanted[op->inputs[j]] == (op->inputs[j] >= dag->local_count));
    }
    check(sets == dag->local_count && outputs == dag->tensor_count);
    for (size_t i = 0; i < dag->persist_count; i++) {
        check(dag->persisted[i] < dag->tensor_count);
        check(dag->wanted[dag->persisted[i]] == (dag->persisted[i] >= dag->local_count));
    }
}

static void check_dag(dag_form form, const slice *argv, size_t argc) {
    dag_args dag;
    parse_dag(form, argv, argc, &dag);
    check(is_inside(dag.first_load, dag.load_count, argc) && is_inside(dag.first_persist, dag.persist_count, argc));
    check(dag.routing < argc || argc == 0);
    check(dag.timeout_ms >= 0 && dag.op_count <= DAG_MAX_OPS && dag.local_count <= dag.tensor_count);
    for (size_t i = 0; i < dag.op_count; i++) {
        const dag_op *op = &dag.ops[i];
        check(op->argv == argv + op->first && is_inside(op->first, op->argc, argc) && (!op->has_key || op->argc > 1));
        if (op->kind == DAG_SCRIPT) check_script(&op->args.script, op->argc);
    }
    check(dag.error != NULL || dag.op_count > 0);
    if (dag.error == NULL && dag_resolve(&dag, argv) == NULL) check_numbers(&dag);
    dag_args_free(&dag);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    slice argv[MAX_ARGUMENTS];
    size_t argc = cut_arguments(data, size, WORDS, WORD_COUNT, argv);
    script_run_args run;
    parse_scriptexecute(argv, argc, &run);
    check_script(&run, argc);
    parse_scriptrun(argv, argc, &run);
    check_script(&run, argc);
    for (int form = 0; form < DAG_FORMS; form++) check_dag((dag_form)form, argv, argc);
    return 0;
}
