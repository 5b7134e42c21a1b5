/* A DAG as the models worker hears it, and what it answers: right, failed, cut short and damaged. */
#include "../ai_args.c"
#include "../graph.c"
#include "../memory.c"
#include "../model.c"
#include "../names.c"
#include "../redis_api.c"
#include "../resp.c"
#include "../run_counters.c"
#include "../script.c"
#include "../script_run_args.c"
#include "../sha256.c"
#include "../stored_values.c"
#include "../tensor.c"

#include <stdio.h>

static int failures;

static void check(bool ok, const char *what) {
    if (ok) return;
    printf("failed: %s\n", what);
    failures++;
}

/* The model's bytes are no file here. */
static blob weights = {.path = "/models/m"};

void blob_release(blob *b) {
    (void)b;
}

blob *blob_hold(blob *b) {
    return b;
}

static slice text(const char *s) {
    return (slice){s, strlen(s)};
}

static tensor *number(const char *value) {
    const char *error;
    slice values[1] = {text(value)};
    return tensor_from_values(DTYPE_INT8, NULL, 0, values, 1, &error);
}

static model *two_to_one(void) {
    slice names[] = {text("a"), text("b")};
    model_args args = {.device = text("CPU"), .tag = text(""), .inputs = names, .input_count = 2, .outputs = names,
                       .output_count = 1};
    return model_new(&args, &weights);
}

static script *source(void) {
    slice names[] = {text("f")};
    script_args args = {
        .device = text("CPU"), .tag = text(""), .source = text("..."), .entry_points = names, .entry_point_count = 1};
    return script_new(&args);
}

/* Three local tensors, of which 1 is read by nothing: a model makes 3 of 0 and 2, a script 4 and 5 of 3 and 0. */
static const size_t MODEL_INPUTS[] = {0, 2}, SCRIPT_INPUTS[] = {3, 0};
static const slice SCRIPT_ARGV[] = {{"key", 3}, {"arg", 3}};
static const script_run_args SCRIPT_ARGS = {
    .function = {"f", 1}, .first_key = 0, .key_count = 1, .first_arg = 1, .arg_count = 1, .list_at = 1};

static graph *sample(void) {
    graph *g = graph_new(3, 3, 2);
    g->tensors[0] = number("7");
    g->tensors[1] = number("8");
    g->tensors[2] = number("9");
    g->ops[0] = (graph_op){
        .model = two_to_one(), .inputs = MODEL_INPUTS, .input_count = 2, .first_output = 3, .output_count = 1};
    g->ops[1] = (graph_op){.script = source(),
                           .args = &SCRIPT_ARGS,
                           .argv = SCRIPT_ARGV,
                           .inputs = SCRIPT_INPUTS,
                           .input_count = 2,
                           .first_output = 4,
                           .output_count = 2};
    g->wanted[3] = g->wanted[5] = true;
    return g;
}

static void check_parts(const slice *parts, const char *const *expected, size_t count, const char *what) {
    for (size_t i = 0; i < count; i++) check(slice_is(parts[i], expected[i]), what);
}

#define MODEL                                                                                                          \
    "*13\r\n$9\r\n/models/m\r\n$1\r\nd\r\n$5\r\nTORCH\r\n$3\r\nCPU\r\n$0\r\n\r\n$1\r\n0\r\n$1\r\n0\r\n$1\r\n0\r\n"             \
    "$1\r\n2\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\n1\r\n$1\r\na\r\n"

static void test_only_what_is_read_is_sent_and_only_what_is_wanted_is_asked_for(void) {
    static const char *const OF_MODEL[] = {"1", "2", "0", "1"}, *const OF_SCRIPT[] = {"f", "2", "2", "2",   "0", "1",
                                                                                     "1", "key", "1", "arg"};
    enum { SCRIPT_WORDS = 5 };
    graph *g = sample();
    frame_writer w;
    frame f;
    size_t consumed;
    const char *error;
    frame_init(&w);
    graph_encode(g, &w, SIZE_MAX);
    slice whole = frame_whole(&w);
    resp_parser *p = resp_parser_new(1 << 20, 1 << 10);
    check(resp_parse(p, whole.data, whole.len, &f, &consumed, &error) == RESP_FRAME && consumed == whole.len, "a frame");
    const slice *part = f.parts;
    check(slice_is(part[0], "2") && slice_is(part[3], "\x07") && slice_is(part[6], "\x09"), "0 and 2 are sent");
    part += 7;
    check(slice_is(part[0], "2") && slice_is(part[1], "MODEL") && slice_is(part[2], MODEL), "a model");
    part += 3;
    check_parts(part, OF_MODEL, 4, "outputs and inputs of the model");
    part += 4;
    check(slice_is(part[0], "SCRIPT") && slice_is(part[3], "..."), "a script");
    part += 1 + SCRIPT_WORDS;
    check_parts(part, OF_SCRIPT, 10, "function, outputs, inputs, list, keys and arguments of the script");
    part += 10;
    check(slice_is(part[0], "2") && slice_is(part[1], "2") && slice_is(part[2], "4"), "3 and 5 are wanted");
    check(part + 3 == f.parts + f.count, "nothing else");
    resp_parser_free(p);
    memory.free((char *)whole.data);
    frame_free(&w);
    graph_free(g);
}

static void test_what_is_too_large_is_not_written_to_its_end(void) {
    graph *g = sample();
    frame_writer whole, cut;
    frame_init(&whole);
    graph_encode(g, &whole, SIZE_MAX);
    for (size_t max_bytes = 0; max_bytes < whole.len; max_bytes++) {
        frame_init(&cut);
        graph_encode(g, &cut, max_bytes);
        check(cut.len > max_bytes && cut.len <= whole.len, "more than there may be, and no more than there is");
        check(max_bytes > 0 || cut.len < whole.len / 4, "the tensors and ops that follow are left out");
        frame_free(&cut);
    }
    frame_free(&whole);
    graph_free(g);
}

#define OK "+OK\r\n"
#define SCALAR "INT8", "", "\x05"
#define NONE "", "", ""
enum { MOST_PARTS = 32 };

typedef struct answer {
    slice parts[MOST_PARTS];
    size_t count;
} answer;

#define ANSWER(...)                                                                                                    \
    answer_of((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static answer answer_of(const char *const *texts, size_t count) {
    answer a = {.count = count};
    for (size_t i = 0; i < count; i++) a.parts[i] = text(texts[i]);
    return a;
}

static graph_end decode(graph *g, answer *a, slice *error) {
    frame f = {a->parts, a->count};
    return graph_decode(g, &f, error);
}

static answer right_answer(void) {
    return ANSWER(OK, "2", OK, "10", "1", "4", "0", OK, "20", "1", "0", "0", "2", SCALAR, SCALAR);
}

static void test_an_answer_brings_replies_tensors_and_counters(void) {
    graph *g = sample();
    answer a = right_answer();
    slice error;
    check(decode(g, &a, &error) == GRAPH_DONE && graph_succeeded(g), "done");
    check(g->tensors[3]->data[0] == 5 && g->tensors[4] == NULL && g->tensors[5]->data[0] == 5, "wanted tensors");
    check(g->ops[0].model->counters.duration_us == 10 && g->ops[0].model->counters.samples == 4, "model's counters");
    check(g->ops[1].script->counters.duration_us == 20 && g->ops[1].script->counters.calls == 1, "script's counters");
    check(!graph_repeatable(g), "scripts are not run twice");
    graph_free(g);
}

static void test_an_op_that_failed_made_nothing(void) {
    graph *g = sample();
    answer a = ANSWER(OK, "2", "-no\r\n", "0", "1", "0", "1", "+NA\r\n", "0", "0", "0", "0", "2", NONE, NONE);
    slice error;
    check(decode(g, &a, &error) == GRAPH_DONE && !graph_succeeded(g), "done, but failed");
    check(slice_is(g->ops[0].reply, "-no\r\n") && slice_is(g->ops[1].reply, "+NA\r\n"), "replies");
    check(g->tensors[3] == NULL && g->ops[0].model->counters.errors == 1, "no tensor, one error");
    graph_free(g);
}

static void test_an_error_of_the_whole_is_told(void) {
    graph *g = sample();
    answer a = ANSWER("-ERR all of it\r\n", "0", "0");
    slice error;
    check(decode(g, &a, &error) == GRAPH_FAILED && slice_is(error, "-ERR all of it\r\n"), "failed as a whole");
    graph_free(g);
}

/* Every part left out, doubled, emptied or replaced: an end of some kind, no tensor where there is none. */
static void test_a_damaged_answer_is_no_danger(void) {
    static const char *const INSTEAD[] = {"", "x", "-1", "1000000000000", OK, "*-1\r\n", "FLOAT", "\x01"};
    answer whole = right_answer();
    for (size_t at = 0; at < whole.count; at++) {
        for (size_t way = 0; way < 2 + sizeof INSTEAD / sizeof *INSTEAD; way++) {
            graph *g = sample();
            answer a = whole;
            slice error;
            if (way == 0) {
                a.count = at;
            } else if (way == 1) {
                memmove(a.parts + at + 1, a.parts + at, (a.count - at) * sizeof *a.parts);
                a.count++;
            } else {
                a.parts[at] = text(INSTEAD[way - 2]);
            }
            graph_end end = decode(g, &a, &error);
            check(way > 1 || end == GRAPH_MALFORMED, "another number of parts");
            check(end != GRAPH_DONE || !graph_succeeded(g) || (g->tensors[3] != NULL && g->tensors[5] != NULL),
                  "done without a tensor");
            graph_free(g);
        }
    }
}

static void test_a_success_without_its_tensor_is_malformed(void) {
    graph *g = sample();
    answer a = ANSWER(OK, "2", OK, "1", "1", "1", "0", OK, "1", "1", "0", "0", "2", SCALAR, NONE);
    slice error;
    check(decode(g, &a, &error) == GRAPH_MALFORMED, "a success without its tensor");
    graph_free(g);
}

int main(void) {
    strcpy(weights.digest, "d");
    test_only_what_is_read_is_sent_and_only_what_is_wanted_is_asked_for();
    test_what_is_too_large_is_not_written_to_its_end();
    test_an_answer_brings_replies_tensors_and_counters();
    test_an_op_that_failed_made_nothing();
    test_an_error_of_the_whole_is_told();
    test_a_damaged_answer_is_no_danger();
    test_a_success_without_its_tensor_is_malformed();
    return failures > 0;
}
