/* Any bytes as the arguments of every AI.* command about tensors and models, and as a tensor of a frame. */
#include "../ai_args.c"
#include "../memory.c"
#include "../resp.c"
#include "../tensor.c"

#include "fuzz_arguments.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_ZEROED = 1 << 16 };

static const char *const WORDS[] = {
    "k", "FLOAT", "DOUBLE", "INT8", "INT64", "UINT16", "BOOL", "STRING", "BLOB", "VALUES", "META", "TORCH", "ONNX",
    "TF", "TFLITE", "OPENVINO", "CPU", "GPU:0", "TAG", "BATCHSIZE", "MINBATCHSIZE", "MINBATCHTIMEOUT", "INPUTS", "OUTPUTS",
    "TIMEOUT", "1", "2", "0", "-1", "3037000500", "9223372036854775807", "inf", "1e400",
};
enum { WORD_COUNT = sizeof WORDS / sizeof *WORDS };

/* A fuzzer's memory is small: what the limits allow is not what is tested. */
static void *small_alloc(size_t size) {
    return size > MAX_ZEROED ? NULL : malloc(size);
}

static void check_inside(const slice *some, size_t count, const slice *all, size_t all_count) {
    check(count == 0 || (some >= all && count <= all_count && some + count <= all + all_count));
}

static void check_tensor(tensor *t) {
    size_t at = 0, seen = 0;
    if (t == NULL) return;
    for (size_t i = 0; i < t->elements && t->dtype == DTYPE_STRING; i++) {
        seen += tensor_next_string(t, &at).len + 1;
        check(at <= t->size);
    }
    check(t->dtype != DTYPE_STRING || seen == t->size);
    check(t->dtype == DTYPE_STRING || t->size == t->elements * tensor_dtype_size(t->dtype));
    for (size_t i = 0; i < t->elements && t->dtype != DTYPE_STRING; i++) {
        if (tensor_is_real(t)) (void)tensor_real_at(t, i);
        else (void)tensor_integer_at(t, i);
    }
    tensor_release(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    slice argv[MAX_ARGUMENTS];
    size_t argc = cut_arguments(data, size, WORDS, WORD_COUNT, argv);
    const char *error = NULL;
    model_args stored;
    run_args run;
    tensorget_args get;
    memory.try_alloc = small_alloc;
    tensor *old = parse_tensorset(argv, argc, ARGS_FROM_USER, NULL, &error);
    tensor *over = parse_tensorset(argv, argc, ARGS_FROM_SERVER, old, &error);
    if (over != old) check_tensor(old);
    check_tensor(over);
    if (argc >= 3) {
        tensor *t = tensor_from_wire(argv[0], argv[1], argv[2], &error);
        check((t == NULL) == (tensor_check_wire(argv[0], argv[1], argv[2]) != NULL) || argv[2].len > MAX_ZEROED / 2);
        check_tensor(t);
    }
    parse_tensorget(argv, argc, &get);
    for (int from = ARGS_FROM_USER; from <= ARGS_FROM_SERVER; from++) {
        if (parse_modelstore(argv, argc, (args_from)from, &stored) == NULL) {
            check_inside(stored.chunks, stored.chunk_count, argv, argc);
            check_inside(stored.inputs, stored.input_count, argv, argc);
            check_inside(stored.outputs, stored.output_count, argv, argc);
            check(stored.chunk_count > 0 && stored.batchsize >= 0 && stored.minbatchsize >= 0 &&
                  stored.minbatchtimeout_ms >= 0);
        }
    }
    if (parse_modelset(argv, argc, &stored) == NULL) {
        check_inside(stored.chunks, stored.chunk_count, argv, argc);
        check_inside(stored.inputs, stored.input_count, argv, argc);
        check_inside(stored.outputs, stored.output_count, argv, argc);
    }
    /* Also after an error: the server asks for keys whether the command is right or not. */
    parse_modelexecute(argv, argc, &run);
    check(run.first_input + run.input_count <= argc && run.first_output + run.output_count <= argc);
    parse_modelrun(argv, argc, &run);
    check((run.input_count == 0 || run.first_input + run.input_count <= argc) &&
          (run.output_count == 0 || run.first_output + run.output_count <= argc));
    return 0;
}
