/* Tensors: sizes, values, bytes, and what is refused. */
#include "../memory.c"
#include "../resp.c"
#include "../tensor.c"

#include <stdio.h>

static int failures;

static void check(bool ok, const char *what) {
    if (ok) return;
    printf("failed: %s\n", what);
    failures++;
}

/* The error by its address: it is set while the other arguments are evaluated. */
static void check_error(tensor *t, const char *const *error, const char *want) {
    if (t == NULL && *error != NULL && strstr(*error, want) != NULL) return;
    printf("failed: wanted an error with '%s', got %s\n", want, t != NULL ? "a tensor" : *error);
    failures++;
    tensor_release(t);
}

static tensor *from_values(tensor_dtype dtype, size_t count, const char *const *texts, const char **error) {
    slice values[16];
    int64_t shape[1] = {(int64_t)count};
    for (size_t i = 0; i < count; i++) values[i] = (slice){texts[i], strlen(texts[i])};
    return tensor_from_values(dtype, shape, 1, values, count, error);
}

#define VALUES(dtype, error, ...)                                                                                      \
    from_values(dtype, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__}, error)

static void test_zeroes_are_as_long_as_the_shape_says(void) {
    const char *error;
    int64_t shape[] = {2, 3};
    for (int dtype = 0; dtype < DTYPES; dtype++) {
        tensor *t = tensor_zeroed((tensor_dtype)dtype, shape, 2, &error);
        size_t element = dtype == DTYPE_STRING ? 1 : tensor_dtype_size((tensor_dtype)dtype);
        check(t != NULL && t->elements == 6 && t->size == 6 * element && t->dims == 2,
              tensor_dtype_name((tensor_dtype)dtype));
        tensor_release(t);
    }
}

static void test_a_scalar_has_one_element(void) {
    const char *error;
    tensor *t = tensor_zeroed(DTYPE_INT64, NULL, 0, &error);
    check(t != NULL && t->elements == 1 && t->size == 8, "scalar");
    tensor_release(t);
}

static void test_an_empty_shape_has_no_elements_whatever_its_other_dimensions(void) {
    const char *error;
    int64_t shape[] = {INT64_MAX, 0, INT64_MAX};
    tensor *t = tensor_from_blob(DTYPE_FLOAT, shape, 3, (slice){NULL, 0}, &error);
    check(t != NULL && t->elements == 0 && t->size == 0, "empty shape");
    tensor_release(t);
}

static void test_huge_shapes_are_refused_before_anything_is_allocated(void) {
    static const int64_t shapes[][2] = {
        {INT64_MAX, 1}, {3037000500, 3037000500}, {4294967296, 4294967296}, {1000000, 1000000}, {INT64_MAX, INT64_MAX}};
    const char *error;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        for (int dtype = 0; dtype < DTYPES; dtype++) {
            tensor *t = tensor_zeroed((tensor_dtype)dtype, shapes[i], 2, &error);
            check_error(t, &error, "too large");
            t = tensor_from_blob((tensor_dtype)dtype, shapes[i], 2, (slice){"", 0}, &error);
            check(t == NULL, "huge shape with an empty blob");
        }
    }
    int64_t many[TENSOR_MAX_DIMS + 1];
    for (size_t i = 0; i <= TENSOR_MAX_DIMS; i++) many[i] = 1;
    check_error(tensor_zeroed(DTYPE_INT8, many, TENSOR_MAX_DIMS + 1, &error), &error, "64 dimensions");
    int64_t negative[] = {-1};
    check_error(tensor_zeroed(DTYPE_INT8, negative, 1, &error), &error, "negative value");
}

static void test_integers_keep_to_the_range_of_their_type(void) {
    static const struct {
        tensor_dtype dtype;
        const char *min, *below, *max, *above;
    } rows[] = {
        {DTYPE_INT8, "-128", "-129", "127", "128"},
        {DTYPE_INT16, "-32768", "-32769", "32767", "32768"},
        {DTYPE_INT32, "-2147483648", "-2147483649", "2147483647", "2147483648"},
        {DTYPE_INT64, "-9223372036854775808", "-9223372036854775809", "9223372036854775807", "9223372036854775808"},
        {DTYPE_UINT8, "0", "-1", "255", "256"},
        {DTYPE_UINT16, "0", "-1", "65535", "65536"},
        {DTYPE_BOOL, "0", "-1", "1", "2"},
    };
    const char *error;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tensor *t = VALUES(rows[i].dtype, &error, rows[i].min, rows[i].max);
        check(t != NULL && tensor_integer_at(t, 0) == strtoll(rows[i].min, NULL, 10) &&
                  tensor_integer_at(t, 1) == strtoll(rows[i].max, NULL, 10),
              tensor_dtype_name(rows[i].dtype));
        tensor_release(t);
        check_error(VALUES(rows[i].dtype, &error, rows[i].below), &error, "invalid value");
        check_error(VALUES(rows[i].dtype, &error, rows[i].above), &error, "invalid value");
    }
}

static void test_texts_that_are_no_numbers_are_refused(void) {
    static const char *const reals[] = {"", " 1", "1 ", "abc", "1,2", "nan", "-nan", "1e400", "--1", "1e"};
    static const char *const integers[] = {"", " 1", "1 ", "1.0", "1e2", "007", "-0", "+1", "0x1", "true"};
    const char *error;
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        check_error(VALUES(DTYPE_FLOAT, &error, reals[i]), &error, "invalid value");
        check_error(VALUES(DTYPE_DOUBLE, &error, reals[i]), &error, "invalid value");
    }
    check_error(VALUES(DTYPE_FLOAT, &error, "1e39"), &error, "invalid value");
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++)
        check_error(VALUES(DTYPE_INT32, &error, integers[i]), &error, "invalid value");
    char digits[1000];
    memset(digits, '1', sizeof digits);
    slice value = {digits, sizeof digits};
    check_error(tensor_from_values(DTYPE_DOUBLE, NULL, 0, &value, 1, &error), &error, "invalid value");
    slice with_nul = {"1\0", 2};
    check_error(tensor_from_values(DTYPE_DOUBLE, NULL, 0, &with_nul, 1, &error), &error, "invalid value");
}

static void test_reals_are_what_strtod_says(void) {
    static const char *const texts[] = {"1",   "-2.5",      ".5", "5.",     "+1",  "1e-3",
                                        "inf", "-infinity", "-0", "1e-310", "0x10"};
    const char *error;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        tensor *t = VALUES(DTYPE_DOUBLE, &error, texts[i]);
        double want = strtod(texts[i], NULL);
        check(t != NULL && memcmp(&want, t->data, sizeof want) == 0, texts[i]);
        tensor_release(t);
    }
}

static void test_strings_may_be_empty_and_end_in_one_nul(void) {
    const char *error;
    slice values[] = {{"", 0}, {"ab", 2}, {"c\0", 2}};
    int64_t shape[] = {3};
    size_t at = 0;
    tensor *t = tensor_from_values(DTYPE_STRING, shape, 1, values, 3, &error);
    check(t != NULL && t->size == 6 && memcmp(t->data, "\0ab\0c\0", 6) == 0, "strings");
    check(tensor_next_string(t, &at).len == 0 && slice_is(tensor_next_string(t, &at), "ab") &&
              slice_is(tensor_next_string(t, &at), "c"),
          "strings one by one");
    tensor_release(t);
    slice inner = {"a\0b", 3};
    check_error(tensor_from_values(DTYPE_STRING, NULL, 0, &inner, 1, &error), &error, "null character");
}

static void test_blobs_must_fit(void) {
    const char *error;
    int64_t shape[] = {2};
    check_error(tensor_from_blob(DTYPE_FLOAT, shape, 1, (slice){"1234567", 7}, &error), &error, "data length");
    check_error(tensor_from_blob(DTYPE_FLOAT, shape, 1, (slice){"123456789", 9}, &error), &error, "data length");
    check_error(tensor_from_blob(DTYPE_BOOL, shape, 1, (slice){"\0\2", 2}, &error), &error, "must be 0 or 1");
    check_error(tensor_from_blob(DTYPE_STRING, shape, 1, (slice){"", 0}, &error), &error, "string elements");
    check_error(tensor_from_blob(DTYPE_STRING, shape, 1, (slice){"a\0", 2}, &error), &error, "string elements");
    check_error(tensor_from_blob(DTYPE_STRING, shape, 1, (slice){"a\0b", 3}, &error), &error, "string elements");
    check_error(tensor_from_blob(DTYPE_STRING, shape, 1, (slice){"a\0b\0c", 5}, &error), &error, "string elements");
}

static void test_only_a_tensor_that_nobody_shares_is_overwritten(void) {
    const char *error;
    const int64_t shape[] = {2}, longer[] = {3}, other[] = {1, 2};
    const slice ones = {"\1\1", 2}, twos = {"\2\2", 2};
    tensor *t = tensor_overwrite(NULL, DTYPE_UINT8, shape, 1, ones, &error);
    check(t != NULL && tensor_overwrite(t, DTYPE_UINT8, shape, 1, twos, &error) == t, "in its place");
    check(tensor_integer_at(t, 0) == 2 && tensor_integer_at(t, 1) == 2, "the new values");
    check_error(tensor_overwrite(t, DTYPE_BOOL, shape, 1, twos, &error), &error, "must be 0 or 1");
    check_error(tensor_overwrite(t, DTYPE_UINT8, shape, 1, (slice){"\1", 1}, &error), &error, "data length");
    check(tensor_integer_at(t, 0) == 2, "as it was");

    tensor *others[] = {tensor_overwrite(t, DTYPE_INT8, shape, 1, ones, &error),
                        tensor_overwrite(t, DTYPE_UINT8, longer, 1, (slice){"\1\1\1", 3}, &error),
                        tensor_overwrite(t, DTYPE_UINT8, other, 2, ones, &error),
                        tensor_overwrite(tensor_hold(t), DTYPE_UINT8, shape, 1, ones, &error)};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        check(others[i] != NULL && others[i] != t && tensor_integer_at(others[i], 0) == 1, "another one");
        tensor_release(others[i]);
    }
    check(tensor_integer_at(t, 0) == 2, "still as it was");
    tensor_release(t);
    tensor_release(t);
}

static void test_the_wire_form_comes_back_the_same(void) {
    const char *error, *parse_error;
    tensor *t = VALUES(DTYPE_INT16, &error, "-5", "7");
    frame_writer w;
    frame f;
    size_t consumed;
    frame_init(&w);
    tensor_to_wire(t, &w);
    char head[32];
    size_t head_len = (size_t)snprintf(head, sizeof head, "*%zu\r\n", w.count), total = head_len + w.len;
    char *bytes = malloc(total);
    memcpy(bytes, head, head_len);
    memcpy(bytes + head_len, w.data, w.len);
    resp_parser *p = resp_parser_new(1 << 20, 100);
    check(resp_parse(p, bytes, total, &f, &consumed, &parse_error) == RESP_FRAME && f.count == 3, "frame");
    tensor *back = tensor_from_wire(f.parts[0], f.parts[1], f.parts[2], &error);
    check(back != NULL && back->dtype == t->dtype && back->size == t->size &&
              memcmp(back->data, t->data, t->size) == 0 && back->dims == 1 && back->shape[0] == 2,
          "round trip");
    check(tensor_check_wire(f.parts[0], f.parts[1], f.parts[2]) == NULL, "check of the round trip");
    check(tensor_check_wire(f.parts[0], (slice){f.parts[1].data, 7}, f.parts[2]) != NULL, "shape cut short");
    check(tensor_check_wire((slice){"FLOAT16", 7}, f.parts[1], f.parts[2]) != NULL, "unknown dtype");
    check(tensor_check_wire(f.parts[0], f.parts[1], (slice){f.parts[2].data, 3}) != NULL, "data cut short");
    tensor_release(back);
    tensor_release(t);
    resp_parser_free(p);
    frame_free(&w);
    free(bytes);
}

int main(void) {
    test_zeroes_are_as_long_as_the_shape_says();
    test_a_scalar_has_one_element();
    test_an_empty_shape_has_no_elements_whatever_its_other_dimensions();
    test_huge_shapes_are_refused_before_anything_is_allocated();
    test_integers_keep_to_the_range_of_their_type();
    test_texts_that_are_no_numbers_are_refused();
    test_reals_are_what_strtod_says();
    test_strings_may_be_empty_and_end_in_one_nul();
    test_blobs_must_fit();
    test_only_a_tensor_that_nobody_shares_is_overwritten();
    test_the_wire_form_comes_back_the_same();
    if (failures == 0) puts("tensor: ok");
    return failures != 0;
}
