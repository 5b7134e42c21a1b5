/* ai_dag.c: AI.DAGEXECUTE, AI.DAGRUN and their read-only forms.
 *
 * 1. Names, keys, AI.TENSORSET and AI.TENSORGET are the module's: only models and scripts go to the worker, as one
 *    graph (graph.h). A DAG without any is answered at once.
 * 2. The keyspace is read before anything runs, and written after everything did: PERSIST stores all of its tensors or
 *    none, and is what replicas and the AOF hear of a DAG.
 * 3. A key that is looked up was told to the server before (tell_keys), which checks the user's rights and the slot. */
#include "ai.h"
#include "ai_command.h"
#include "dag_args.h"
#include "memory.h"
#include "model_type.h"
#include "reply.h"
#include "runs.h"
#include "script_type.h"
#include "tensor_type.h"

/* How to answer one command of the DAG. */
typedef struct step {
    dag_op_kind kind;
    size_t tensor;      /* of a TENSORGET */
    tensorget_args get; /* the same */
    size_t run;         /* of a model or script: which op of the graph */
} step;

typedef struct dag {
    waiter *waiter; /* NULL: answered at once */
    bool has_timeout;
    graph *graph;
    step *steps;
    size_t step_count;
    run_keys persist;
    size_t *persisted; /* a tensor of the graph for each of those keys */
    const char *not_persisted; /* NULL, or why */
} dag;

static void dag_free(void *arg) {
    dag *d = arg;
    graph_free(d->graph);
    memory.free(d->steps);
    run_keys_release(&d->persist);
    memory.free(d->persisted);
    memory.free(d);
}

/* ---- the answer ---- */

static void reply_step(RedisModuleCtx *ctx, const dag *d, const step *s) {
    const tensor *t;
    switch (s->kind) {
    case DAG_TENSORSET: RedisModule_ReplyWithSimpleString(ctx, "OK"); break;
    case DAG_TENSORGET:
        t = d->graph->tensors[s->tensor];
        if (t != NULL) ai_reply_tensor(ctx, t, &s->get);
        else RedisModule_ReplyWithSimpleString(ctx, "NA");
        break;
    case DAG_MODEL:
    case DAG_SCRIPT: reply_with_resp(ctx, d->graph->ops[s->run].reply); break;
    }
}

/* An array: the reply of each command and, as clients know it, one more where the tensors could not be stored. */
static int reply_dag(RedisModuleCtx *ctx, void *arg) {
    const dag *d = arg;
    RedisModule_ReplyWithArray(ctx, (long)d->step_count + (d->not_persisted != NULL));
    for (size_t i = 0; i < d->step_count; i++) reply_step(ctx, d, &d->steps[i]);
    if (d->not_persisted != NULL) RedisModule_ReplyWithError(ctx, d->not_persisted);
    return REDISMODULE_OK;
}

/* NULL, or the error of the whole: this server may not write any more. A key that holds something else is told in the
 * array. */
static const char *persist(RedisModuleCtx *ctx, dag *d) {
    const char *error = NULL;
    if (!graph_succeeded(d->graph)) return NULL;
    for (size_t i = 0; i < d->persist.count && d->not_persisted == NULL; i++) {
        if ((error = ai_refuse_write_to(ctx, d->persist.items[i])) != NULL) return error;
        d->not_persisted = tensor_check_key(ctx, d->persist.items[i]);
    }
    for (size_t i = 0; i < d->persist.count && d->not_persisted == NULL; i++) {
        tensor *t = d->graph->tensors[d->persisted[i]];
        tensor_store_and_replicate(ctx, d->persist.items[i], tensor_hold(t));
    }
    return NULL;
}

static void on_run(RedisModuleCtx *ctx, const job_result *result, void *arg) {
    dag *d = arg;
    slice reply = {NULL, 0};
    const char *error = run_graph_ended(d->graph, result, &reply);
    if (error == NULL && !run_reply_is_error(reply)) error = persist(ctx, d);
    if (error != NULL || run_reply_is_error(reply)) {
        run_answer(d->waiter, result, d->has_timeout, error, reply);
        dag_free(d);
    } else {
        runs_count(JOB_DONE, graph_succeeded(d->graph) && d->not_persisted == NULL);
        if (!graph_succeeded(d->graph)) errors_count(ERROR_MODEL); /* within the array */
        waiter_finish(d->waiter, reply_dag, d, dag_free);
    }
}

/* ---- from the command ---- */

/* A tensor without data is cheap to ask for: all of one command's together may take what one alone may. */
static const char *count_zeroed(const dag_op *op, const tensor *t, size_t *zeroed) {
    enum { BEFORE_SHAPE = 3 };
    if (op->argc > BEFORE_SHAPE + t->dims) return NULL;
    *zeroed += t->size;
    return *zeroed > TENSOR_MAX_ZEROED_BYTES ? "ERR the tensors without data of a DAG have at most 512 MiB together"
                                             : NULL;
}

static const char *look_up_model(RedisModuleCtx *ctx, RedisModuleString *key, const dag_op *op, bool right,
                                 graph_op *out) {
    const char *error = NULL;
    model *m = model_at(ctx, key, &error);
    if (m == NULL) return error;
    if (right && (error = run_check_counts(m, op->input_count, op->output_count)) != NULL) return error;
    out->model = model_hold(m);
    return NULL;
}

static const char *look_up_script(RedisModuleCtx *ctx, RedisModuleString *key, graph_op *out) {
    const char *error = NULL;
    script *s = script_at(ctx, key, &error);
    if (s == NULL) return error;
    out->script = script_hold(s);
    return NULL;
}

/* Everything that the DAG is made of, in the order in which it stands, into the graph; or the first error. */
static const char *gather(RedisModuleCtx *ctx, RedisModuleString **argv, const dag_args *args, graph *g) {
    const char *error = NULL;
    size_t next_set = args->load_count, next_run = 0, zeroed = 0;
    for (size_t i = 0; i < args->load_count; i++) {
        tensor *t = tensor_at(ctx, argv[args->first_load + i], &error);
        if (t == NULL) return error;
        g->tensors[i] = tensor_hold(t);
    }
    for (size_t i = 0; i < args->op_count; i++) {
        const dag_op *op = &args->ops[i];
        bool right = args->error == NULL || i + 1 < args->op_count;
        if (op->has_key) {
            RedisModuleString *key = argv[op->first + 1];
            graph_op *run = &g->ops[next_run++];
            error = op->kind == DAG_MODEL ? look_up_model(ctx, key, op, right, run) : look_up_script(ctx, key, run);
        } else if (op->kind == DAG_TENSORSET && right) {
            tensor *t = parse_tensorset(op->argv, op->argc, ai_tensors_from(), NULL, &error);
            if (t != NULL) error = count_zeroed(op, t, &zeroed);
            g->tensors[next_set++] = t;
        }
        if (error != NULL) return error;
    }
    return args->error;
}

/* After dag_resolve: what the worker runs and how each command is answered. */
static void connect(const dag_args *args, dag *d) {
    graph_op *run = d->graph->ops;
    for (size_t i = 0; i < args->tensor_count; i++) d->graph->wanted[i] = args->wanted[i];
    for (size_t i = 0; i < args->op_count; i++) {
        const dag_op *op = &args->ops[i];
        d->steps[i] = (step){.kind = op->kind};
        if (op->kind == DAG_TENSORGET) {
            d->steps[i].tensor = op->inputs[0];
            d->steps[i].get = op->args.get;
        } else if (op->has_key) {
            d->steps[i].run = (size_t)(run - d->graph->ops);
            run->argv = op->argv;
            if (op->kind == DAG_SCRIPT) run->args = &op->args.script;
            run->inputs = op->inputs;
            run->input_count = op->input_count;
            run->first_output = op->first_output;
            run->output_count = op->output_count;
            run++;
        }
    }
    for (size_t i = 0; i < d->persist.count; i++) d->persisted[i] = args->persisted[i];
}

static dag *dag_new(RedisModuleString **argv, const dag_args *args) {
    dag *d = memory.alloc(sizeof *d);
    *d = (dag){.has_timeout = args->timeout_ms > 0,
               .graph = graph_new(args->local_count, args->tensor_count - args->local_count, args->run_count),
               .steps = memory.alloc(args->op_count * sizeof *d->steps),
               .step_count = args->op_count,
               .persist = run_keys_hold(argv + args->first_persist, args->persist_count),
               .persisted = memory.alloc(args->persist_count * sizeof *d->persisted)};
    return d;
}

/* Nothing of it needs the worker. */
static void answer_at_once(RedisModuleCtx *ctx, dag *d) {
    const char *error = waiter_possible(ctx) ? persist(ctx, d) : RUN_REFUSED_HERE;
    if (error != NULL) RedisModule_ReplyWithError(ctx, error);
    else reply_dag(ctx, d);
    dag_free(d);
}

static void answer_later(RedisModuleCtx *ctx, dag *d, const dag_args *args) {
    const char *error;
    if ((d->waiter = waiter_new(ctx, RUN_REFUSED_HERE)) == NULL) {
        dag_free(d);
        return;
    }
    job_id job = run_graph(ctx, d->graph, args->timeout_ms, on_run, d, &error);
    if (!run_submitted(d->waiter, job, error)) dag_free(d);
}

static void execute(RedisModuleCtx *ctx, dag_form form, RedisModuleString **argv, const slice *all, dag_args *args) {
    dag *d = dag_new(argv, args);
    const char *error = gather(ctx, argv, args, d->graph);
    if (error == NULL) error = dag_resolve(args, all);
    if (error == NULL && (form == DAG_EXECUTE || form == DAG_RUN)) error = ai_refuse_writes(ctx);
    if (error != NULL) {
        ai_reply_error_about(ctx, error, error == args->error ? args->unexpected : (slice){NULL, 0});
        dag_free(d);
        return;
    }
    connect(args, d);
    if (args->run_count == 0) answer_at_once(ctx, d);
    else answer_later(ctx, d, args);
}

/* The keys before the first |>, in the order in which they stand. */
static void tell_head_keys(RedisModuleCtx *ctx, const dag_args *args, size_t end) {
    for (size_t at = 1; at < end; at++) {
        if (at - args->first_load < args->load_count) ai_tell_keys(ctx, at, 1, AI_KEY_READ);
        else if (at - args->first_persist < args->persist_count) ai_tell_keys(ctx, at, 1, AI_KEY_STORED);
        else if (at == args->routing) ai_tell_keys(ctx, at, 1, AI_KEY_ANY_USE);
    }
}

/* The server asks which keys the command has. Wrong arguments are told by running it. */
static void tell_keys(RedisModuleCtx *ctx, const dag_args *args, size_t argc) {
    tell_head_keys(ctx, args, args->op_count > 0 ? args->ops[0].first : argc);
    for (size_t i = 0; i < args->op_count; i++) {
        const dag_op *op = &args->ops[i];
        if (op->has_key) ai_tell_keys(ctx, op->first + 1, 1, AI_KEY_READ);
        if (op->kind == DAG_SCRIPT)
            ai_tell_keys(ctx, op->first + op->args.script.first_key, op->args.script.key_count, AI_KEY_ANY_USE);
    }
}

static int run_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, dag_form form) {
    ai_arguments all;
    dag_args args;
    ai_arguments_open(&all, argv, argc);
    parse_dag(form, all.all, all.count, &args);
    if (RedisModule_IsKeysPositionRequest(ctx)) tell_keys(ctx, &args, all.count);
    else execute(ctx, form, argv, all.all, &args);
    dag_args_free(&args);
    ai_arguments_close(&all);
    return REDISMODULE_OK;
}

/* AI.DAGEXECUTE [LOAD n key ...] [PERSIST n key ...] [ROUTING key] [TIMEOUT ms] |> command |> command ...: an array
 * of the reply of each command, AI.TENSORSET, AI.TENSORGET, AI.MODELEXECUTE or AI.SCRIPTEXECUTE: its own, or NA
 * where something that it needs failed. TIMEDOUT, and nothing stored, after ms. */
int ai_dagexecute(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    return run_command(ctx, argv, argc, DAG_EXECUTE);
}

/* The same without PERSIST and scripts. */
int ai_dagexecute_ro(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    return run_command(ctx, argv, argc, DAG_EXECUTE_RO);
}

/* The older form, with AI.MODELRUN and AI.SCRIPTRUN. */
int ai_dagrun(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    return run_command(ctx, argv, argc, DAG_RUN);
}

int ai_dagrun_ro(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    return run_command(ctx, argv, argc, DAG_RUN_RO);
}
