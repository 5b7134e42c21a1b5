/* ai_args.h: the arguments of the AI.* commands, read without a server, so that they can be fuzzed. Pure.
 *
 * Every function takes the whole command, its name first. Errors are whole static texts, as clients of RedisAI know
 * them (a few have no code before them, and stay so); NULL is none. What is parsed points into argv. */
#ifndef KEYMISS_AI_ARGS_H
#define KEYMISS_AI_ARGS_H

#include "tensor.h"

/* What does not come from a user (the master's stream, the append-only file) may say more: dimensions of 0, as functions
 * may, and the names of a model's inputs and outputs whatever its backend. */
typedef enum args_from { ARGS_FROM_USER, ARGS_FROM_SERVER } args_from;

/* Returned where the number of arguments itself is wrong, for the command to answer as its server does. */
extern const char ARGS_WRONG_ARITY[];

/* Is argument *at this word, in any case? Then step over it. */
bool args_take_word(const slice *argv, size_t argc, size_t *at, const char *word);

/* AI.TENSORSET key type shape ... [BLOB blob | VALUES value ...]. A blob is written over `old` where it can be
 * (tensor_overwrite). */
tensor *parse_tensorset(const slice *argv, size_t argc, args_from from, tensor *old, const char **error);

/* AI.TENSORGET key [META] [BLOB | VALUES] */
typedef struct tensorget_args {
    bool meta, blob, values;
} tensorget_args;
const char *parse_tensorget(const slice *argv, size_t argc, tensorget_args *out);

typedef enum model_backend {
    BACKEND_TORCH,
    BACKEND_ONNX,
    BACKEND_TF,
    BACKEND_TFLITE,
    BACKEND_OPENVINO,
    BACKENDS
} model_backend;
const char *model_backend_name(model_backend backend);
bool model_backend_parse(slice name, model_backend *backend);
bool model_device_is_known(slice device); /* CPU or GPU, with a number (CPU:0) or without */

/* AI.MODELSTORE key backend device [TAG tag] [BATCHSIZE n [MINBATCHSIZE n [MINBATCHTIMEOUT ms]]] [INPUTS n input
 * ... OUTPUTS n output ...] (BLOB chunk ... | DIGEST digest), and AI.MODELSET, where lists have no counts, unknown words
 * are skipped and there is no DIGEST. */
typedef struct model_args {
    model_backend backend;
    slice device, tag;
    slice digest; /* SHA-256 in lower-case hex; empty: chunks are given */
    long long batchsize, minbatchsize, minbatchtimeout_ms; /* 0: not given */
    const slice *inputs, *outputs, *chunks;
    size_t input_count, output_count, chunk_count; /* no chunks: a digest is given */
} model_args;
const char *parse_modelstore(const slice *argv, size_t argc, args_from from, model_args *out);
const char *parse_modelset(const slice *argv, size_t argc, model_args *out);

/* AI.MODELEXECUTE key INPUTS n input ... OUTPUTS n output ... [TIMEOUT ms], and
 * AI.MODELRUN key [TIMEOUT ms] INPUTS input ... OUTPUTS output ... */
typedef struct run_args {
    size_t first_input, input_count, first_output, output_count; /* positions in argv, as far as they were found */
    long long timeout_ms;                                        /* 0: not given */
    slice unexpected; /* the argument that "Invalid argument: " is about, when that is the error */
} run_args;
extern const char ARGS_UNEXPECTED[];
const char *parse_modelexecute(const slice *argv, size_t argc, run_args *out);
const char *parse_modelrun(const slice *argv, size_t argc, run_args *out);
/* The value of a TIMEOUT, which is due at argv[*at]: above 0. */
const char *parse_timeout(const slice *argv, size_t argc, size_t *at, const char *no_value, long long *timeout_ms);

#endif
