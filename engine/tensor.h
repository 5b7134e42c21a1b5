/* tensor.h: n-dimensional arrays as the AI.* commands know them. Pure: knows nothing of the server.
 *
 * 1. A tensor that is shared does not change: keys, replies and jobs share it by counting references. Only
 *    tensor_overwrite changes one, which nobody shares.
 * 2. Its data is always exactly as long as dtype and shape say; no function here makes another one, whatever it is
 *    given.
 * 3. The count of references is atomic, because the server may free a key's value in its lazy-free thread.
 * 4. A shape may hold a 0 (a model's output may be empty); whether a user may ask for one is for the command to say.
 *
 * Functions that can fail return NULL, or a text, and say why in a whole static error, code first. */
#ifndef KEYMISS_TENSOR_H
#define KEYMISS_TENSOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "resp.h"

typedef enum tensor_dtype {
    DTYPE_FLOAT, /* 32 bit */
    DTYPE_DOUBLE,
    DTYPE_INT8,
    DTYPE_INT16,
    DTYPE_INT32,
    DTYPE_INT64,
    DTYPE_UINT8,
    DTYPE_UINT16,
    DTYPE_BOOL,   /* one byte, 0 or 1 */
    DTYPE_STRING, /* strings one after the other, each closed by a NUL */
    DTYPES
} tensor_dtype;

enum {
    TENSOR_MAX_DIMS = 64, /* as NumPy and the frameworks have it */
    /* Largest tensor made from nothing but its shape. As with a blob, whose bound is the server's default
     * proto-max-bulk-len: what a client cannot send, it cannot make the server allocate either. */
    TENSOR_MAX_ZEROED_BYTES = 512 * 1024 * 1024
};

typedef struct tensor {
    atomic_uint refs;
    tensor_dtype dtype;
    unsigned dims;
    size_t elements; /* product of the shape; 1 for a scalar */
    size_t size;     /* of data, in bytes */
    char *data;      /* C order, little-endian; in the same allocation */
    int64_t shape[]; /* dims of them */
} tensor;

/* dtypes by the names that AI.TENSORSET takes, in any case. */
bool tensor_dtype_parse(slice name, tensor_dtype *dtype);
const char *tensor_dtype_name(tensor_dtype dtype);
size_t tensor_dtype_size(tensor_dtype dtype); /* bytes of an element; 0 for STRING */

/* Each returns a tensor with one reference, or NULL with *error set. Zeroes (STRING: empty strings): */
tensor *tensor_zeroed(tensor_dtype dtype, const int64_t *shape, size_t dims, const char **error);
/* from bytes that must fit dtype and shape: */
tensor *tensor_from_blob(tensor_dtype dtype, const int64_t *shape, size_t dims, slice blob, const char **error);
/* the same, in the place of `old` where that has this dtype and shape and only the caller holds it (NULL: there is
 * none); `old` is then what is returned, else it stays as it is: */
tensor *tensor_overwrite(tensor *old, tensor_dtype dtype, const int64_t *shape, size_t dims, slice blob,
                         const char **error);
/* from one text for each element: */
tensor *tensor_from_values(tensor_dtype dtype, const int64_t *shape, size_t dims, const slice *values, size_t count,
                           const char **error);
/* from the three elements of a frame, see docs/channel.md. */
tensor *tensor_from_wire(slice dtype, slice shape, slice data, const char **error);
/* Would tensor_from_wire take them? NULL, or why not. */
const char *tensor_check_wire(slice dtype, slice shape, slice data);
/* The way back. */
void tensor_to_wire(const tensor *t, frame_writer *out);

tensor *tensor_hold(tensor *t); /* returns t */
void tensor_release(tensor *t); /* NULL is fine */

/* Elements, i < elements. Of FLOAT and DOUBLE; of the integer types and BOOL; of STRING, where *at is where the
 * last call left it (0 at first). */
double tensor_real_at(const tensor *t, size_t i);
long long tensor_integer_at(const tensor *t, size_t i);
slice tensor_next_string(const tensor *t, size_t *at);
bool tensor_is_real(const tensor *t);

/* Bytes on the heap. */
size_t tensor_heap_bytes(const tensor *t);

#endif
