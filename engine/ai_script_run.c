/* ai_script_run.c: AI.SCRIPTEXECUTE and AI.SCRIPTRUN: a graph of one script, whose reply is the command's.
 *
 * Inputs are held, so their keys may change while the script runs. Outputs are stored when the answer comes, in the
 * database that was the client's when it asked. */
#include "ai.h"
#include "ai_command.h"
#include "memory.h"
#include "runs.h"
#include "script_run_args.h"
#include "script_type.h"
#include "tensor_type.h"

typedef struct execution {
    waiter *waiter;
    graph *graph;
    bool has_timeout; /* the client said TIMEOUT */
    run_keys outputs;
} execution;

static void execution_free(execution *e) {
    graph_free(e->graph);
    run_keys_release(&e->outputs);
    memory.free(e);
}

static const char *store_outputs(RedisModuleCtx *ctx, execution *e) {
    tensor **outputs = e->graph->tensors + e->graph->local_count;
    const char *error = run_store_outputs(ctx, &e->outputs, outputs);
    for (size_t i = 0; i < e->outputs.count; i++) outputs[i] = NULL; /* given away */
    return error;
}

static void on_executed(RedisModuleCtx *ctx, const job_result *result, void *arg) {
    execution *e = arg;
    const graph_op *op = e->graph->ops;
    slice reply = {NULL, 0};
    const char *error = run_graph_ended(e->graph, result, &reply);
    if (error == NULL && !run_reply_is_error(reply)) {
        reply = op->reply;
        if (graph_op_succeeded(op)) error = store_outputs(ctx, e);
    }
    run_answer(e->waiter, result, e->has_timeout, error, reply);
    execution_free(e);
}

/* The inputs into the graph; NULL, or the error of the key that is no tensor. */
static const char *hold_inputs(RedisModuleCtx *ctx, RedisModuleString **argv, const script_run_args *args, graph *g) {
    const char *error = NULL;
    for (size_t i = 0; i < args->input_count; i++) {
        tensor *t = tensor_at(ctx, argv[script_run_input(args, i)], &error);
        if (t == NULL) return error;
        g->tensors[i] = tensor_hold(t);
    }
    return NULL;
}

static job_id submit(RedisModuleCtx *ctx, execution *e, const slice *all, script *s, const script_run_args *args,
                     const char **error) {
    size_t *inputs = memory.alloc(args->input_count * sizeof *inputs);
    for (size_t i = 0; i < args->input_count; i++) inputs[i] = i;
    for (size_t i = 0; i < args->output_count; i++) e->graph->wanted[args->input_count + i] = true;
    e->graph->ops[0] = (graph_op){.script = script_hold(s),
                                  .args = args,
                                  .argv = all,
                                  .inputs = inputs,
                                  .input_count = args->input_count,
                                  .first_output = args->input_count,
                                  .output_count = args->output_count};
    job_id job = run_graph(ctx, e->graph, args->timeout_ms, on_executed, e, error);
    memory.free(inputs);
    return job;
}

static int execute(RedisModuleCtx *ctx, RedisModuleString **argv, const slice *all, script *s,
                   const script_run_args *args) {
    graph *g = graph_new(args->input_count, args->output_count, 1);
    waiter *w = NULL;
    const char *error = ai_refuse_writes(ctx);
    if (error == NULL) error = hold_inputs(ctx, argv, args, g);
    if (error != NULL) RedisModule_ReplyWithError(ctx, error);
    else w = waiter_new(ctx, RUN_REFUSED_HERE);
    if (w == NULL) {
        graph_free(g);
        return REDISMODULE_OK;
    }
    execution *e = memory.alloc(sizeof *e);
    *e = (execution){.waiter = w,
                     .graph = g,
                     .has_timeout = args->timeout_ms > 0,
                     .outputs = run_keys_hold(argv + args->first_output, args->output_count)};
    job_id job = submit(ctx, e, all, s, args, &error);
    if (!run_submitted(w, job, error)) execution_free(e);
    return REDISMODULE_OK;
}

/* The server asks which keys the command has. Wrong arguments are told by running it. */
static void tell_keys(RedisModuleCtx *ctx, const script_run_args *args) {
    ai_tell_keys(ctx, 1, 1, AI_KEY_READ);
    ai_tell_keys(ctx, args->first_key, args->key_count, AI_KEY_ANY_USE);
    for (size_t i = 0; i < args->input_count; i++) ai_tell_keys(ctx, script_run_input(args, i), 1, AI_KEY_READ);
    ai_tell_keys(ctx, args->first_output, args->output_count, AI_KEY_STORED);
}

static int run_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, int least,
                       const char *(*parse)(const slice *argv, size_t argc, script_run_args *out)) {
    ai_arguments args;
    script_run_args parsed;
    script *s = NULL;
    const char *error, *no_script = NULL;
    ai_arguments_open(&args, argv, argc);
    error = parse(args.all, args.count, &parsed);
    if (RedisModule_IsKeysPositionRequest(ctx)) {
        if (argc >= least) tell_keys(ctx, &parsed);
    } else if (argc >= least && (s = script_at(ctx, argv[1], &no_script)) == NULL) {
        RedisModule_ReplyWithError(ctx, no_script);
    } else if (error != NULL) {
        ai_reply_error_about(ctx, error, parsed.unexpected);
    } else {
        execute(ctx, argv, args.all, s, &parsed);
    }
    ai_arguments_close(&args);
    return REDISMODULE_OK;
}

/* AI.SCRIPTEXECUTE key function [KEYS n key ...] [INPUTS n input ...] [ARGS n arg ...] [OUTPUTS n output ...]
 * [TIMEOUT ms]: OK when the outputs are stored; TIMEDOUT, and nothing stored, after ms. */
int ai_scriptexecute(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    return run_command(ctx, argv, argc, 3, parse_scriptexecute);
}

/* AI.SCRIPTRUN key function [TIMEOUT ms] [INPUTS input ... [$ input ...]] [OUTPUTS output ...]: the older form, where
 * what stands behind the $ is a list. */
int ai_scriptrun(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    return run_command(ctx, argv, argc, 4, parse_scriptrun);
}
