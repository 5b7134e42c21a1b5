#include "ai_args.h"

#include <string.h>

#include "sha256.h"

const char ARGS_WRONG_ARITY[] = "ERR wrong number of arguments";
const char ARGS_UNEXPECTED[] = "Invalid argument: ";

enum { MAX_DEVICE_CHARS = 10 }; /* "GPU:123456" */

/* A number of 0 or more. */
static bool parse_count(slice text, long long *value) {
    return slice_number(text, value) && *value >= 0;
}

tensor *parse_tensorset(const slice *argv, size_t argc, args_from from, tensor *old, const char **error) {
    tensor_dtype dtype;
    int64_t shape[TENSOR_MAX_DIMS];
    size_t dims = 0, at = 3;
    if (argc < 4) {
        *error = ARGS_WRONG_ARITY;
        return NULL;
    }
    if (!tensor_dtype_parse(argv[2], &dtype)) {
        *error = "ERR invalid data type";
        return NULL;
    }
    for (; at < argc && !slice_is_word(argv[at], "BLOB") && !slice_is_word(argv[at], "VALUES"); at++) {
        long long dim;
        if (!slice_number(argv[at], &dim) || dim < (from == ARGS_FROM_SERVER ? 0 : 1)) {
            *error = "ERR invalid or negative value found in tensor shape";
            return NULL;
        }
        if (dims == TENSOR_MAX_DIMS) {
            *error = "ERR a tensor has at most 64 dimensions";
            return NULL;
        }
        shape[dims++] = dim;
    }
    if (at == argc) return tensor_zeroed(dtype, shape, dims, error);
    if (slice_is_word(argv[at], "VALUES"))
        return tensor_from_values(dtype, shape, dims, argv + at + 1, argc - at - 1, error);
    if (argc - at != 2) {
        *error = "ERR a single binary string should come after the BLOB argument in 'AI.TENSORSET' command";
        return NULL;
    }
    return tensor_overwrite(old, dtype, shape, dims, argv[at + 1], error);
}

const char *parse_tensorget(const slice *argv, size_t argc, tensorget_args *out) {
    *out = (tensorget_args){0};
    if (argc < 2) return ARGS_WRONG_ARITY;
    for (size_t at = 2; at < argc; at++) {
        if (slice_is_word(argv[at], "META")) out->meta = true;
        else if (slice_is_word(argv[at], "BLOB")) out->blob = true;
        else if (slice_is_word(argv[at], "VALUES")) out->values = true;
        else return "ERR unsupported data format";
    }
    if (out->blob && out->values) return "ERR both BLOB and VALUES specified";
    if (argc == 2) out->meta = out->blob = true;
    return NULL;
}

static const struct backend_row {
    const char *name;
    bool names_wanted; /* its models do not name their inputs and outputs: the command has to */
    bool batches;
} BACKEND[BACKENDS] = {
    [BACKEND_TORCH] = {"TORCH", false, true},
    [BACKEND_ONNX] = {"ONNX", false, true},
    [BACKEND_TF] = {"TF", true, true},
    [BACKEND_TFLITE] = {"TFLITE", false, false},
    [BACKEND_OPENVINO] = {"OPENVINO", false, true},
};

const char *model_backend_name(model_backend backend) {
    return BACKEND[backend].name;
}

bool model_backend_parse(slice name, model_backend *backend) {
    for (int i = 0; i < BACKENDS; i++) {
        if (slice_is_word(name, BACKEND[i].name)) {
            *backend = (model_backend)i;
            return true;
        }
    }
    return false;
}

bool model_device_is_known(slice device) {
    if (device.len > MAX_DEVICE_CHARS) return false;
    if (device.len > 4) {
        for (size_t i = 4; i < device.len; i++) {
            if (device.data[i] < '0' || device.data[i] > '9') return false;
        }
        if (device.data[3] != ':') return false;
        device.len = 3;
    }
    return slice_is_word(device, "CPU") || slice_is_word(device, "GPU");
}

bool args_take_word(const slice *argv, size_t argc, size_t *at, const char *word) {
    if (*at >= argc || !slice_is_word(argv[*at], word)) return false;
    (*at)++;
    return true;
}

static const char *take_chunks(const slice *argv, size_t argc, size_t at, model_args *out) {
    if (at >= argc) return "ERR Insufficient arguments, missing model BLOB";
    out->chunks = argv + at;
    out->chunk_count = argc - at;
    return NULL;
}

static const char *take_digest(const slice *argv, size_t argc, size_t at, model_args *out) {
    if (argc - at != 1 || !sha256_is_hex(argv[at].data, argv[at].len))
        return "ERR Invalid argument for DIGEST: the SHA-256 of the model, 64 lower-case hexadecimal digits";
    out->digest = argv[at];
    return NULL;
}

static const char *check_batching(const model_args *args) {
    if (args->batchsize > 0 && !BACKEND[args->backend].batches)
        return "ERR Auto-batching not supported by the TFLITE backend";
    if (args->minbatchsize > 0 && args->batchsize == 0) return "ERR MINBATCHSIZE specified without BATCHSIZE";
    if (args->minbatchtimeout_ms > 0 && args->minbatchsize == 0)
        return "ERR MINBATCHTIMEOUT specified without MINBATCHSIZE";
    return NULL;
}

/* "n name ..." after INPUTS or OUTPUTS of AI.MODELSTORE. Something must follow the names: the blob. */
static const char *take_counted_names(const slice *argv, size_t argc, size_t *at, args_from from, const slice **names,
                                      size_t *count, const char *bad_count, const char *mismatch) {
    long long n;
    if (*at >= argc || !parse_count(argv[*at], &n) || (n == 0 && from == ARGS_FROM_USER)) return bad_count;
    if ((unsigned long long)n > argc - ++*at) return mismatch;
    *names = argv + *at;
    *count = (size_t)n;
    *at += (size_t)n;
    return NULL;
}

static const char *take_names(const slice *argv, size_t argc, size_t *at, args_from from, model_args *out) {
    const char *error;
    bool wanted = BACKEND[out->backend].names_wanted;
    if (!args_take_word(argv, argc, at, "INPUTS")) return wanted ? "ERR INPUTS not specified for TF" : NULL;
    if (!wanted && from == ARGS_FROM_USER) return "ERR INPUTS argument should not be specified for this backend";
    error = take_counted_names(argv, argc, at, from, &out->inputs, &out->input_count,
                               "ERR Invalid argument for input_count",
                               "ERR number of model inputs does not match the number of given arguments");
    if (error != NULL) return error;
    if (!args_take_word(argv, argc, at, "OUTPUTS")) return "ERR OUTPUTS not specified for TF";
    return take_counted_names(argv, argc, at, from, &out->outputs, &out->output_count,
                              "ERR Invalid argument for output_count",
                              "ERR number of model outputs does not match the number of given arguments");
}

const char *parse_modelstore(const slice *argv, size_t argc, args_from from, model_args *out) {
    const char *error;
    size_t at = 4;
    *out = (model_args){0};
    if (argc < 6) return ARGS_WRONG_ARITY;
    if (!model_backend_parse(argv[2], &out->backend)) return "ERR unsupported backend";
    if (!model_device_is_known(argv[3])) return "ERR Invalid DEVICE";
    out->device = argv[3];
    if (at + 1 < argc && args_take_word(argv, argc, &at, "TAG")) out->tag = argv[at++];
    if (args_take_word(argv, argc, &at, "BATCHSIZE") && (at >= argc || !parse_count(argv[at++], &out->batchsize)))
        return "ERR Invalid argument for BATCHSIZE";
    if (args_take_word(argv, argc, &at, "MINBATCHSIZE") && (at >= argc || !parse_count(argv[at++], &out->minbatchsize)))
        return "ERR Invalid argument for MINBATCHSIZE";
    if (args_take_word(argv, argc, &at, "MINBATCHTIMEOUT") &&
        (at >= argc || !parse_count(argv[at++], &out->minbatchtimeout_ms)))
        return "ERR Invalid argument for MINBATCHTIMEOUT";
    if ((error = check_batching(out)) != NULL) return error;
    if (at >= argc) return "ERR Insufficient arguments, missing model BLOB";
    if ((error = take_names(argv, argc, &at, from, out)) != NULL) return error;
    if (args_take_word(argv, argc, &at, "DIGEST")) return take_digest(argv, argc, at, out);
    if (at < argc && !args_take_word(argv, argc, &at, "BLOB")) return "ERR Invalid argument, expected BLOB";
    return take_chunks(argv, argc, at, out);
}

/* Words of AI.MODELSET that cannot be a device: one of them there means that the device was forgotten. */
static bool is_modelset_word(slice s) {
    static const char *const WORDS[] = {"TAG",    "BATCHSIZE", "MINBATCHSIZE", "MINBATCHTIMEOUT",
                                        "INPUTS", "OUTPUTS",   "BLOB"};
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++) {
        if (slice_is_word(s, WORDS[i])) return true;
    }
    return false;
}

/* The arguments up to a word or the end. */
static size_t count_until(const slice *argv, size_t argc, size_t at, const char *word) {
    size_t n = 0;
    while (at + n < argc && !slice_is_word(argv[at + n], word)) n++;
    return n;
}

const char *parse_modelset(const slice *argv, size_t argc, model_args *out) {
    bool batchsize, minbatchsize, minbatchtimeout;
    size_t at = 4;
    *out = (model_args){0};
    if (argc < 4) return ARGS_WRONG_ARITY;
    if (!model_backend_parse(argv[2], &out->backend)) return "ERR unsupported backend";
    if (argv[3].len > MAX_DEVICE_CHARS || is_modelset_word(argv[3])) return "ERR Invalid DEVICE";
    if (!model_device_is_known(argv[3])) return "ERR unsupported device";
    out->device = argv[3];
    if (at + 1 < argc && args_take_word(argv, argc, &at, "TAG")) out->tag = argv[at++];
    if ((batchsize = args_take_word(argv, argc, &at, "BATCHSIZE")) &&
        (at >= argc || !parse_count(argv[at++], &out->batchsize)))
        return "ERR Invalid argument for BATCHSIZE";
    if ((minbatchsize = args_take_word(argv, argc, &at, "MINBATCHSIZE"))) {
        if (!batchsize) return "ERR MINBATCHSIZE specified without BATCHSIZE";
        if (at >= argc || !parse_count(argv[at++], &out->minbatchsize)) return "ERR Invalid argument for MINBATCHSIZE";
    }
    if ((minbatchtimeout = args_take_word(argv, argc, &at, "MINBATCHTIMEOUT"))) {
        if (!batchsize) return "ERR MINBATCHTIMEOUT specified without BATCHSIZE";
        if (!minbatchsize) return "ERR MINBATCHTIMEOUT specified without MINBATCHSIZE";
        if (at >= argc || !parse_count(argv[at++], &out->minbatchtimeout_ms))
            return "ERR Invalid argument for MINBATCHTIMEOUT";
    }
    const char *error = check_batching(out);
    if (error != NULL) return error;
    if (BACKEND[out->backend].names_wanted) {
        if (!args_take_word(argv, argc, &at, "INPUTS")) return "ERR INPUTS not specified";
        out->inputs = argv + at;
        out->input_count = count_until(argv, argc, at, "OUTPUTS");
        at += out->input_count;
        if (!args_take_word(argv, argc, &at, "OUTPUTS")) return "ERR OUTPUTS not specified";
        out->outputs = argv + at;
        out->output_count = count_until(argv, argc, at, "BLOB");
    }
    at += count_until(argv, argc, at, "BLOB") + 1;
    return take_chunks(argv, argc, at, out);
}

const char *parse_timeout(const slice *argv, size_t argc, size_t *at, const char *no_value, long long *timeout_ms) {
    if (*at >= argc) return no_value;
    if (!slice_number(argv[(*at)++], timeout_ms) || *timeout_ms <= 0) return "ERR Invalid value for TIMEOUT";
    return NULL;
}

static const char *take_timeout(const slice *argv, size_t argc, size_t *at, run_args *out) {
    if (!args_take_word(argv, argc, at, "TIMEOUT")) return NULL;
    return parse_timeout(argv, argc, at, "ERR No value provided for TIMEOUT", &out->timeout_ms);
}

static const char *take_counted_keys(const slice *argv, size_t argc, size_t *at, size_t *first, size_t *count,
                                     const char *bad_count, const char *not_positive, const char *mismatch) {
    long long n;
    if (*at >= argc || !slice_number(argv[*at], &n)) return bad_count;
    if (n <= 0) return not_positive;
    if ((unsigned long long)n > argc - ++*at) return mismatch;
    *first = *at;
    *count = (size_t)n;
    *at += (size_t)n;
    return NULL;
}

const char *parse_modelexecute(const slice *argv, size_t argc, run_args *out) {
    const char *error;
    size_t at = 2;
    *out = (run_args){0};
    if (argc < 8) return "ERR wrong number of arguments for 'AI.MODELEXECUTE' command";
    if (!args_take_word(argv, argc, &at, "INPUTS")) return "ERR INPUTS not specified";
    error = take_counted_keys(
        argv, argc, &at, &out->first_input, &out->input_count, "ERR Invalid argument for input_count",
        "ERR Input count must be a positive integer",
        "ERR number of input keys to AI.MODELEXECUTE command does not match the number of given arguments");
    if (error != NULL) return error;
    if (!args_take_word(argv, argc, &at, "OUTPUTS")) return "ERR OUTPUTS not specified";
    error = take_counted_keys(
        argv, argc, &at, &out->first_output, &out->output_count, "ERR Invalid argument for output_count",
        "ERR Output count must be a positive integer",
        "ERR number of output keys to AI.MODELEXECUTE command does not match the number of given arguments");
    if (error != NULL) return error;
    if ((error = take_timeout(argv, argc, &at, out)) != NULL) return error;
    if (at < argc) {
        out->unexpected = argv[at];
        return ARGS_UNEXPECTED;
    }
    return NULL;
}

const char *parse_modelrun(const slice *argv, size_t argc, run_args *out) {
    const char *error;
    size_t at = 2;
    *out = (run_args){0};
    if (argc < 6) return "ERR wrong number of arguments for 'AI.MODELRUN' command";
    if ((error = take_timeout(argv, argc, &at, out)) != NULL) return error;
    if (!args_take_word(argv, argc, &at, "INPUTS")) return "ERR INPUTS not specified";
    out->first_input = at;
    out->input_count = count_until(argv, argc, at, "OUTPUTS");
    at += out->input_count;
    if (args_take_word(argv, argc, &at, "OUTPUTS")) {
        out->first_output = at;
        out->output_count = argc - at;
    }
    return NULL;
}
