#include "tensor.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "memory.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "data of tensors goes out as it lies in memory");

/* Enough for any double written out without exponent, and some; longer ones are refused. */
enum { MAX_NUMBER_CHARS = 512 };

static const char TOO_LARGE[] = "ERR tensor shape is too large";
static const char BAD_VALUE[] = "ERR invalid value";

static const struct dtype_row {
    const char *name;
    uint8_t size;
    bool real;
    int64_t min, max; /* of the integer types */
} DTYPE[DTYPES] = {
    [DTYPE_FLOAT] = {"FLOAT", 4, true, 0, 0},
    [DTYPE_DOUBLE] = {"DOUBLE", 8, true, 0, 0},
    [DTYPE_INT8] = {"INT8", 1, false, INT8_MIN, INT8_MAX},
    [DTYPE_INT16] = {"INT16", 2, false, INT16_MIN, INT16_MAX},
    [DTYPE_INT32] = {"INT32", 4, false, INT32_MIN, INT32_MAX},
    [DTYPE_INT64] = {"INT64", 8, false, INT64_MIN, INT64_MAX},
    [DTYPE_UINT8] = {"UINT8", 1, false, 0, UINT8_MAX},
    [DTYPE_UINT16] = {"UINT16", 2, false, 0, UINT16_MAX},
    [DTYPE_BOOL] = {"BOOL", 1, false, 0, 1},
    [DTYPE_STRING] = {"STRING", 0, false, 0, 0},
};

bool tensor_dtype_parse(slice name, tensor_dtype *dtype) {
    for (int i = 0; i < DTYPES; i++) {
        if (slice_is_word(name, DTYPE[i].name)) {
            *dtype = (tensor_dtype)i;
            return true;
        }
    }
    return false;
}

const char *tensor_dtype_name(tensor_dtype dtype) {
    return DTYPE[dtype].name;
}

size_t tensor_dtype_size(tensor_dtype dtype) {
    return DTYPE[dtype].size;
}

/* The product of the shape; an error where a dimension is negative, there are too many, or size_t does not hold it. */
static const char *count_elements(const int64_t *shape, size_t dims, size_t *elements) {
    bool empty = false, overflows = false;
    size_t product = 1;
    if (dims > TENSOR_MAX_DIMS) return "ERR a tensor has at most 64 dimensions";
    for (size_t i = 0; i < dims; i++) {
        if (shape[i] < 0) return "ERR invalid or negative value found in tensor shape";
        empty = empty || shape[i] == 0;
        overflows = overflows || __builtin_mul_overflow(product, (size_t)shape[i], &product);
    }
    if (overflows && !empty) return TOO_LARGE;
    *elements = empty ? 0 : product;
    return NULL;
}

/* A tensor whose data is not set yet. NULL where the sizes overflow or there is no memory. */
static tensor *make(tensor_dtype dtype, const int64_t *shape, size_t dims, size_t elements, size_t size) {
    size_t head = sizeof(tensor) + dims * sizeof *shape, total;
    tensor *t;
    if (__builtin_add_overflow(head, size, &total)) return NULL;
    t = memory.try_alloc(total);
    if (t == NULL) return NULL;
    atomic_init(&t->refs, 1);
    t->dtype = dtype;
    t->dims = (unsigned)dims;
    t->elements = elements;
    t->size = size;
    t->data = (char *)t + head;
    if (dims > 0) memcpy(t->shape, shape, dims * sizeof *shape);
    return t;
}

tensor *tensor_zeroed(tensor_dtype dtype, const int64_t *shape, size_t dims, const char **error) {
    size_t elements = 0, size;
    tensor *t = NULL;
    if ((*error = count_elements(shape, dims, &elements)) != NULL) return NULL;
    /* An empty string takes one byte, its NUL. */
    if (__builtin_mul_overflow(elements, dtype == DTYPE_STRING ? 1 : tensor_dtype_size(dtype), &size) ||
        size > TENSOR_MAX_ZEROED_BYTES) {
        *error = "ERR tensor shape is too large: a tensor without data has at most 512 MiB";
        return NULL;
    }
    t = make(dtype, shape, dims, elements, size);
    if (t == NULL) *error = TOO_LARGE;
    else memset(t->data, 0, size);
    return t;
}

static const char *check_blob(tensor_dtype dtype, size_t elements, slice blob) {
    if (dtype == DTYPE_STRING) {
        size_t ends = 0;
        for (const char *p = blob.data, *end = blob.data + blob.len; p < end; p++) {
            p = memchr(p, '\0', (size_t)(end - p));
            if (p == NULL) break;
            ends++;
        }
        if (ends != elements || (blob.len > 0 && blob.data[blob.len - 1] != '\0'))
            return "ERR Number of string elements in data blob does not match tensor length";
        return NULL;
    }
    size_t size;
    if (__builtin_mul_overflow(elements, tensor_dtype_size(dtype), &size) || size != blob.len)
        return "ERR data length does not match tensor shape and type";
    if (dtype == DTYPE_BOOL) {
        for (size_t i = 0; i < blob.len; i++) {
            if ((unsigned char)blob.data[i] > 1) return "ERR BOOL tensor elements must be 0 or 1";
        }
    }
    return NULL;
}

static bool is_only_holder(const tensor *t) {
    return atomic_load_explicit(&t->refs, memory_order_acquire) == 1;
}

/* Could t hold the checked data of such a tensor? */
static bool fits(const tensor *t, tensor_dtype dtype, const int64_t *shape, size_t dims, slice blob) {
    return t->dtype == dtype && t->size == blob.len && t->dims == dims &&
           (dims == 0 || memcmp(t->shape, shape, dims * sizeof *shape) == 0);
}

tensor *tensor_overwrite(tensor *old, tensor_dtype dtype, const int64_t *shape, size_t dims, slice blob,
                         const char **error) {
    size_t elements = 0;
    tensor *t = old;
    if ((*error = count_elements(shape, dims, &elements)) != NULL) return NULL;
    if ((*error = check_blob(dtype, elements, blob)) != NULL) return NULL;
    if (t == NULL || !is_only_holder(t) || !fits(t, dtype, shape, dims, blob))
        t = make(dtype, shape, dims, elements, blob.len);
    if (t == NULL) *error = TOO_LARGE;
    else if (blob.len > 0) memcpy(t->data, blob.data, blob.len);
    return t;
}

tensor *tensor_from_blob(tensor_dtype dtype, const int64_t *shape, size_t dims, slice blob, const char **error) {
    return tensor_overwrite(NULL, dtype, shape, dims, blob, error);
}

/* A double, the whole text of it: what strtod takes but for leading spaces, NaN and what is out of range. */
static bool parse_real(slice text, double *value) {
    char copy[MAX_NUMBER_CHARS + 1], *end;
    if (text.len == 0 || text.len > MAX_NUMBER_CHARS || strchr(" \t\n\v\f\r", text.data[0]) != NULL) return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    errno = 0;
    *value = strtod(copy, &end);
    if (end != copy + text.len || isnan(*value)) return false;
    return errno != ERANGE || (fabs(*value) != HUGE_VAL && *value != 0);
}

static bool set_element(tensor *t, size_t i, slice text) {
    char *at = t->data + i * tensor_dtype_size(t->dtype);
    if (DTYPE[t->dtype].real) {
        double value;
        if (!parse_real(text, &value)) return false;
        if (t->dtype == DTYPE_DOUBLE) {
            memcpy(at, &value, sizeof value);
        } else {
            float narrow = (float)value;
            if (isinf(narrow) && !isinf(value)) return false;
            memcpy(at, &narrow, sizeof narrow);
        }
        return true;
    }
    long long value;
    if (!slice_number(text, &value) || value < DTYPE[t->dtype].min || value > DTYPE[t->dtype].max) return false;
    memcpy(at, &value, tensor_dtype_size(t->dtype)); /* little-endian: the low bytes come first */
    return true;
}

/* One NUL at the end of a value is taken as its own; any other would change how many strings there are. */
static const char *strings_size(const slice *values, size_t count, size_t *size) {
    *size = 0;
    for (size_t i = 0; i < count; i++) {
        const char *nul = values[i].len == 0 ? NULL : memchr(values[i].data, '\0', values[i].len);
        if (nul != NULL && nul != values[i].data + values[i].len - 1)
            return "ERR C-string value contains null character";
        *size += values[i].len + (nul == NULL);
    }
    return NULL;
}

static void set_strings(tensor *t, const slice *values, size_t count) {
    char *at = t->data;
    for (size_t i = 0; i < count; i++) {
        if (values[i].len > 0) memcpy(at, values[i].data, values[i].len);
        at += values[i].len;
        if (values[i].len == 0 || at[-1] != '\0') *at++ = '\0';
    }
}

tensor *tensor_from_values(tensor_dtype dtype, const int64_t *shape, size_t dims, const slice *values, size_t count,
                           const char **error) {
    size_t elements = 0, size;
    tensor *t = NULL;
    if ((*error = count_elements(shape, dims, &elements)) != NULL) return NULL;
    if (elements != count) {
        *error = "ERR wrong number of values was given in 'AI.TENSORSET' command";
        return NULL;
    }
    if (dtype == DTYPE_STRING) {
        if ((*error = strings_size(values, count, &size)) != NULL) return NULL;
    } else {
        size = count * tensor_dtype_size(dtype); /* count slices are in memory: it does not overflow */
    }
    t = make(dtype, shape, dims, elements, size);
    if (t == NULL) {
        *error = TOO_LARGE;
        return NULL;
    }
    if (dtype == DTYPE_STRING) {
        set_strings(t, values, count);
        return t;
    }
    for (size_t i = 0; i < count; i++) {
        if (!set_element(t, i, values[i])) {
            *error = BAD_VALUE;
            tensor_release(t);
            return NULL;
        }
    }
    return t;
}

static const char *parse_wire(slice dtype_name, slice packed_shape, tensor_dtype *dtype, int64_t shape[TENSOR_MAX_DIMS],
                              size_t *dims) {
    if (!tensor_dtype_parse(dtype_name, dtype)) return "ERR unsupported dtype";
    *dims = packed_shape.len / sizeof *shape;
    if (packed_shape.len % sizeof *shape != 0 || *dims > TENSOR_MAX_DIMS) return "ERR malformed tensor shape";
    if (*dims > 0) memcpy(shape, packed_shape.data, packed_shape.len);
    return NULL;
}

tensor *tensor_from_wire(slice dtype_name, slice packed_shape, slice data, const char **error) {
    tensor_dtype dtype;
    int64_t shape[TENSOR_MAX_DIMS];
    size_t dims;
    if ((*error = parse_wire(dtype_name, packed_shape, &dtype, shape, &dims)) != NULL) return NULL;
    return tensor_from_blob(dtype, shape, dims, data, error);
}

const char *tensor_check_wire(slice dtype_name, slice packed_shape, slice data) {
    tensor_dtype dtype;
    int64_t shape[TENSOR_MAX_DIMS];
    size_t dims, elements = 0;
    const char *error;
    if ((error = parse_wire(dtype_name, packed_shape, &dtype, shape, &dims)) != NULL) return error;
    if ((error = count_elements(shape, dims, &elements)) != NULL) return error;
    return check_blob(dtype, elements, data);
}

void tensor_to_wire(const tensor *t, frame_writer *out) {
    frame_add_text(out, tensor_dtype_name(t->dtype));
    frame_add(out, t->shape, t->dims * sizeof *t->shape);
    frame_add(out, t->data, t->size);
}

tensor *tensor_hold(tensor *t) {
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tensor_release(tensor *t) {
    if (t == NULL) return;
    /* Nobody can hold what only the caller holds: the last reference needs no subtraction, which is dear. */
    if (is_only_holder(t) || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1) memory.free(t);
}

bool tensor_is_real(const tensor *t) {
    return DTYPE[t->dtype].real;
}

double tensor_real_at(const tensor *t, size_t i) {
    if (t->dtype == DTYPE_DOUBLE) {
        double value;
        memcpy(&value, t->data + i * sizeof value, sizeof value);
        return value;
    }
    float value;
    memcpy(&value, t->data + i * sizeof value, sizeof value);
    return (double)value;
}

long long tensor_integer_at(const tensor *t, size_t i) {
    size_t size = tensor_dtype_size(t->dtype);
    uint64_t bits = 0;
    memcpy(&bits, t->data + i * size, size);
    if (DTYPE[t->dtype].min < 0 && size < sizeof bits) { /* extend the sign */
        uint64_t sign = UINT64_C(1) << (8 * size - 1);
        bits = (bits ^ sign) - sign;
    }
    return (long long)bits;
}

slice tensor_next_string(const tensor *t, size_t *at) {
    slice s = {t->data + *at, strlen(t->data + *at)};
    *at += s.len + 1;
    return s;
}

size_t tensor_heap_bytes(const tensor *t) {
    return sizeof *t + t->dims * sizeof *t->shape + t->size;
}
