#include "dag_args.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

static const struct form_row {
    size_t least; /* arguments */
    const char *too_few;
    bool deprecated, read_only;
} FORMS[DAG_FORMS] = {
    [DAG_EXECUTE] = {6, "ERR missing arguments for 'AI.DAGEXECUTE' command", false, false},
    [DAG_EXECUTE_RO] = {6, "ERR missing arguments for 'AI.DAGEXECUTE_RO' command", false, true},
    [DAG_RUN] = {4, "ERR wrong number of arguments for 'AI.DAGRUN' command", true, false},
    [DAG_RUN_RO] = {4, "ERR wrong number of arguments for 'AI.DAGRUN_RO' command", true, true},
};

static const struct op_row {
    const char *name;
    dag_op_kind kind;
    size_t least;          /* arguments, with which it is looked at further */
    const char *refused;   /* the error in the newer commands, or in the deprecated ones; NULL: fits both */
    bool deprecated;
    const char *read_only; /* the error in a read-only DAG; NULL: fits there too */
} OPS[] = {
    {"AI.TENSORSET", DAG_TENSORSET, 4, NULL, false, NULL},
    {"AI.TENSORGET", DAG_TENSORGET, 2, NULL, false, NULL},
    {"AI.MODELEXECUTE", DAG_MODEL, 8, "AI.MODELEXECUTE cannot be used in a deprecated AI.DAGRUN command", false, NULL},
    {"AI.MODELRUN", DAG_MODEL, 6, "Deprecated AI.MODELRUN cannot be used in AI.DAGEXECUTE command", true, NULL},
    {"AI.SCRIPTEXECUTE", DAG_SCRIPT, 3, "AI.SCRIPTEXECUTE cannot be used in a deprecated AI.DAGRUN command", false,
     "ERR AI.SCRIPTEXECUTE command cannot be specified in a read-only DAG"},
    {"AI.SCRIPTRUN", DAG_SCRIPT, 4, "Deprecated AI.SCRIPTRUN cannot be used in AI.DAGEXECUTE command", true, NULL},
};

static bool is_pipe(slice s) {
    return slice_is(s, "|>");
}

/* ---- what stands before the first |> ---- */

static int compare_slices(const void *a, const void *b) {
    const slice *x = a, *y = b;
    size_t shorter = x->len < y->len ? x->len : y->len;
    int order = shorter > 0 ? memcmp(x->data, y->data, shorter) : 0;
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

static bool has_twice(const slice *names, size_t count) {
    bool found = false;
    if (count < 2) return false;
    slice *sorted = memory.alloc(count * sizeof *sorted);
    memcpy(sorted, names, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_slices);
    for (size_t i = 1; i < count && !found; i++) found = compare_slices(&sorted[i - 1], &sorted[i]) == 0;
    memory.free(sorted);
    return found;
}

/* "n key ..." after LOAD or PERSIST, at *at. Where there are fewer than n, those that are there were found. */
static const char *take_keys(const slice *argv, size_t argc, size_t *at, size_t *first, size_t *count,
                             const char *no_count, const char *bad_count, const char *too_many) {
    long long n;
    if (++*at >= argc) return no_count;
    if (!slice_number(argv[(*at)++], &n) || n <= 0) return bad_count;
    size_t left = argc - *at;
    bool all = (unsigned long long)n <= left;
    *first = *at;
    *count = all ? (size_t)n : left;
    *at += *count;
    return all ? NULL : too_many;
}

static const char *take_persist(const slice *argv, size_t argc, size_t *at, dag_args *out) {
    const char *error = take_keys(
        argv, argc, at, &out->first_persist, &out->persist_count, "ERR Missing arguments after PERSIST keyword",
        "ERR invalid or negative value found in number of keys to PERSIST",
        "ERR number of keys to PERSIST after DAG execution does not match the number of given arguments");
    if (has_twice(argv + out->first_persist, out->persist_count)) return "ERR PERSIST keys must be unique";
    return error;
}

/* A TIMEOUT of 0 or less is none, as it always was here. */
static const char *take_dag_timeout(const slice *argv, size_t argc, size_t *at, dag_args *out) {
    if (++*at >= argc) return "ERR No value provided for TIMEOUT";
    if (!slice_number(argv[(*at)++], &out->timeout_ms)) return "ERR Invalid value for TIMEOUT";
    if (out->timeout_ms < 0) out->timeout_ms = 0;
    return NULL;
}

static const char *parse_head(dag_form form, const slice *argv, size_t argc, size_t *at, dag_args *out) {
    bool timeout_seen = false;
    while (*at < argc && !is_pipe(argv[*at])) {
        const char *error;
        if (slice_is_word(argv[*at], "LOAD") && out->first_load == 0) {
            error = take_keys(argv, argc, at, &out->first_load, &out->load_count,
                              "ERR Missing arguments after LOAD keyword",
                              "ERR invalid or negative value found in number of keys to LOAD",
                              "ERR number of keys to LOAD into DAG does not match the number of given arguments");
        } else if (slice_is_word(argv[*at], "PERSIST") && out->first_persist == 0) {
            error = FORMS[form].read_only ? "ERR PERSIST cannot be specified in a read-only DAG"
                                          : take_persist(argv, argc, at, out);
        } else if (slice_is_word(argv[*at], "ROUTING") && out->routing == 0) {
            if (++*at >= argc) return "ERR Missing arguments after ROUTING keyword";
            out->routing = (*at)++;
            error = NULL;
        } else if (slice_is_word(argv[*at], "TIMEOUT") && !timeout_seen) {
            timeout_seen = true;
            error = take_dag_timeout(argv, argc, at, out);
        } else {
            out->unexpected = argv[*at];
            error = "ERR Invalid DAG command. Unexpected argument:  ";
        }
        if (error != NULL) return error;
    }
    if (!FORMS[form].deprecated && out->first_load == 0 && out->first_persist == 0 && out->routing == 0)
        return "ERR AI.DAGEXECUTE and AI.DAGEXECUTE_RO commands must contain at least one out of ROUTING, LOAD, "
               "PERSIST keywords";
    return *at == argc ? "ERR DAG is empty" : NULL;
}

/* ---- the commands ---- */

static const struct op_row *find_op(slice name) {
    for (size_t i = 0; i < sizeof OPS / sizeof *OPS; i++) {
        if (slice_is_word(name, OPS[i].name)) return &OPS[i];
    }
    return NULL;
}

static const char *parse_model(const struct op_row *row, dag_op *op, dag_args *out) {
    run_args *args = &op->args.model;
    const char *error =
        row->deprecated ? parse_modelrun(op->argv, op->argc, args) : parse_modelexecute(op->argv, op->argc, args);
    op->input_count = args->input_count;
    op->output_count = args->output_count;
    out->unexpected = args->unexpected;
    return error == NULL && args->timeout_ms > 0 ? "ERR TIMEOUT not allowed within a DAG command" : error;
}

static const char *parse_script(const struct op_row *row, dag_op *op, dag_args *out) {
    script_run_args *args = &op->args.script;
    const char *error =
        row->deprecated ? parse_scriptrun(op->argv, op->argc, args) : parse_scriptexecute(op->argv, op->argc, args);
    op->input_count = args->input_count;
    op->output_count = args->output_count;
    out->unexpected = args->unexpected;
    return error == NULL && args->timeout_ms > 0 ? "ERR TIMEOUT not allowed within a DAG command" : error;
}

static const char *parse_op(dag_form form, dag_op *op, dag_args *out) {
    const struct op_row *row = op->argc > 0 ? find_op(op->argv[0]) : NULL;
    if (row == NULL) return "Unsupported command within DAG";
    op->kind = row->kind;
    if (row->refused != NULL && row->deprecated != FORMS[form].deprecated) return row->refused;
    if (row->read_only != NULL && FORMS[form].read_only) return row->read_only;
    op->has_key = op->argc >= row->least && (op->kind == DAG_MODEL || op->kind == DAG_SCRIPT);
    switch (op->kind) {
    case DAG_TENSORSET:
        op->output_count = 1;
        return op->argc < row->least ? "ERR wrong number of arguments for 'AI.TENSORSET' command" : NULL;
    case DAG_TENSORGET:
        op->input_count = 1;
        if (op->argc < row->least) return "ERR wrong number of arguments for 'AI.TENSORGET' command";
        return parse_tensorget(op->argv, op->argc, &op->args.get);
    case DAG_MODEL: return parse_model(row, op, out);
    case DAG_SCRIPT: return parse_script(row, op, out);
    }
    return NULL;
}

/* Of an op's arguments up to the next |> or the end. */
static size_t count_op(const slice *argv, size_t argc) {
    size_t n = 0;
    while (n < argc && !is_pipe(argv[n])) n++;
    return n;
}

static size_t count_pipes(const slice *argv, size_t argc) {
    size_t n = 0;
    for (size_t i = 0; i < argc; i++) n += is_pipe(argv[i]);
    return n;
}

static const char *parse_ops(dag_form form, const slice *argv, size_t argc, size_t at, dag_args *out) {
    size_t most = count_pipes(argv + at, argc - at);
    if (most > DAG_MAX_OPS) return "ERR a DAG has at most 4096 commands";
    out->ops = memory.alloc(most * sizeof *out->ops);
    while (at < argc) { /* argv[at] is a |> */
        const char *error;
        if (++at == argc) {
            out->unexpected = argv[at - 1];
            return "ERR Invalid DAG command. Unexpected argument:  ";
        }
        dag_op *op = &out->ops[out->op_count++];
        *op = (dag_op){.argv = argv + at, .argc = count_op(argv + at, argc - at), .first = at};
        if ((error = parse_op(form, op, out)) != NULL) return error;
        at += op->argc;
    }
    return NULL;
}

static void count_tensors(dag_args *args) {
    size_t outputs = 0;
    args->local_count = args->load_count;
    for (size_t i = 0; i < args->op_count; i++) {
        const dag_op *op = &args->ops[i];
        if (op->kind == DAG_TENSORSET) args->local_count++;
        else outputs += op->output_count;
        args->run_count += op->kind == DAG_MODEL || op->kind == DAG_SCRIPT;
    }
    args->tensor_count = args->local_count + outputs;
}

void parse_dag(dag_form form, const slice *argv, size_t argc, dag_args *out) {
    size_t at = 1;
    *out = (dag_args){0};
    if (argc < FORMS[form].least) out->error = FORMS[form].too_few;
    else if ((out->error = parse_head(form, argv, argc, &at, out)) == NULL)
        out->error = parse_ops(form, argv, argc, at, out);
    count_tensors(out);
}

void dag_args_free(dag_args *args) {
    memory.free(args->ops);
    memory.free(args->wanted);
    memory.free(args->numbers);
}

/* ---- names ---- */

/* A name and the newest tensor that has it. Sorted by name, so that no choice of names makes looking them up slow. */
typedef struct binding {
    slice name; /* first: compared as a slice */
    size_t number; /* NO_TENSOR: none has it yet */
} binding;

typedef struct bindings {
    binding *all;
    size_t count;
} bindings;

#define NO_TENSOR SIZE_MAX

static binding *find_name(const bindings *names, slice name) {
    return names->count == 0 ? NULL : bsearch(&name, names->all, names->count, sizeof *names->all, compare_slices);
}

/* Output i of an op, as its command names it. */
static slice output_name(const dag_op *op, size_t i) {
    if (op->kind == DAG_TENSORSET) return op->argv[1];
    return op->argv[(op->kind == DAG_MODEL ? op->args.model.first_output : op->args.script.first_output) + i];
}

static slice input_name(const dag_op *op, size_t i) {
    if (op->kind == DAG_TENSORGET) return op->argv[1];
    return op->argv[op->kind == DAG_MODEL ? op->args.model.first_input + i : script_run_input(&op->args.script, i)];
}

/* Every name that a tensor gets, once. */
static void collect_names(const dag_args *args, const slice *argv, bindings *out) {
    size_t kept = 0;
    out->count = 0;
    out->all = memory.alloc(args->tensor_count * sizeof *out->all);
    for (size_t i = 0; i < args->load_count; i++) out->all[out->count++].name = argv[args->first_load + i];
    for (size_t i = 0; i < args->op_count; i++) {
        const dag_op *op = &args->ops[i];
        for (size_t j = 0; j < op->output_count; j++) out->all[out->count++].name = output_name(op, j);
    }
    if (out->count > 0) qsort(out->all, out->count, sizeof *out->all, compare_slices);
    for (size_t i = 0; i < out->count; i++) {
        if (kept == 0 || compare_slices(&out->all[i], &out->all[kept - 1]) != 0) out->all[kept++] = out->all[i];
        out->all[kept - 1].number = NO_TENSOR;
    }
    out->count = kept;
}

static bool read_name(const bindings *names, slice name, size_t *number) {
    const binding *found = find_name(names, name);
    if (found == NULL || found->number == NO_TENSOR) return false;
    *number = found->number;
    return true;
}

static const char *resolve_names(dag_args *args, const slice *argv, const bindings *names) {
    size_t next_set = args->load_count, next_output = args->local_count;
    size_t *number = args->numbers;
    for (size_t i = 0; i < args->load_count; i++) find_name(names, argv[args->first_load + i])->number = i;
    for (size_t i = 0; i < args->op_count; i++) {
        dag_op *op = &args->ops[i];
        op->inputs = number;
        for (size_t j = 0; j < op->input_count; j++, number++) {
            if (!read_name(names, input_name(op, j), number)) return "ERR INPUT key cannot be found in DAG";
            if (op->kind == DAG_TENSORGET && *number >= args->local_count) args->wanted[*number] = true;
        }
        size_t *next = op->kind == DAG_TENSORSET ? &next_set : &next_output;
        op->first_output = *next;
        for (size_t j = 0; j < op->output_count; j++) find_name(names, output_name(op, j))->number = (*next)++;
    }
    args->persisted = number;
    for (size_t i = 0; i < args->persist_count; i++, number++) {
        if (!read_name(names, argv[args->first_persist + i], number)) return "ERR PERSIST key cannot be found in DAG";
        if (*number >= args->local_count) args->wanted[*number] = true;
    }
    return NULL;
}

const char *dag_resolve(dag_args *args, const slice *argv) {
    size_t reads = args->persist_count;
    bindings names;
    for (size_t i = 0; i < args->op_count; i++) reads += args->ops[i].input_count;
    args->numbers = memory.alloc(reads * sizeof *args->numbers);
    args->wanted = memory.alloc(args->tensor_count * sizeof *args->wanted);
    for (size_t i = 0; i < args->tensor_count; i++) args->wanted[i] = false;
    collect_names(args, argv, &names);
    const char *error = resolve_names(args, argv, &names);
    memory.free(names.all);
    return error;
}
