/* typed_io.h: texts of the module's values in the RDB, and as arguments in the AOF and the stream to replicas. */
#ifndef KEYMISS_TYPED_IO_H
#define KEYMISS_TYPED_IO_H

#include "names.h"
#include "redis_api.h"

/* ---- RDB ---- */

void save_slice(RedisModuleIO *rdb, slice s);
void save_names(RedisModuleIO *rdb, const names *n);

/* A string that the caller frees with loaded_slice_free; data is NULL where the payload ends early. */
slice load_slice(RedisModuleIO *rdb);
void loaded_slice_free(slice s);
/* False where the payload ends early; what was read is in *out in any case, for loaded_names_free. */
bool load_names(RedisModuleIO *rdb, slice **out, size_t *count);
void loaded_names_free(slice *items, size_t count);

/* ---- arguments ---- */

RedisModuleString *text_argument(const char *text);
RedisModuleString *slice_argument(slice s);
/* <word> <n> <name>*n; returns how many there are: n and ARGUMENTS_BESIDE_NAMES. */
enum { ARGUMENTS_BESIDE_NAMES = 2 };
size_t names_arguments(RedisModuleString **out, const char *word, const names *n);
/* Frees the arguments and the array. */
void arguments_free(RedisModuleString **arguments, size_t count);

#endif
