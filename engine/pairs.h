/* pairs.h: names with values in a frame, <n> (<name> <value>)*n, as INFO of the workers says them. Pure. */
#ifndef KEYMISS_PAIRS_H
#define KEYMISS_PAIRS_H

#include "names.h"

/* Copies the pairs at parts[*at] into `into` (name, value, name, value ...; what it had is freed) and moves *at behind them.
 * False, nothing changed, if they are malformed or more than max. */
bool pairs_take(const slice *parts, size_t count, size_t *at, size_t max, names *into);

/* May this be a field of INFO keymiss? Its name is [a-z][a-z0-9_]* and not too long, its value one line of at most so many
 * bytes. */
enum { PAIR_NAME_MAX = 64, PAIR_VALUE_MAX = 1024 };
bool pair_is_field(slice name, slice value);

#endif
