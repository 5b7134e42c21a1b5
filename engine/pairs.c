#include "pairs.h"

bool pairs_take(const slice *parts, size_t count, size_t *at, size_t max, names *into) {
    long long pairs;
    if (*at >= count || !slice_number(parts[*at], &pairs) || pairs < 0 || (unsigned long long)pairs > max) return false;
    if ((size_t)pairs * 2 > count - *at - 1) return false;
    names_free(into);
    *into = names_copy(parts + *at + 1, (size_t)pairs * 2);
    *at += 1 + (size_t)pairs * 2;
    return true;
}

static bool is_lower(char c) {
    return c >= 'a' && c <= 'z';
}

static bool is_name(slice name) {
    if (name.len == 0 || name.len > PAIR_NAME_MAX || !is_lower(name.data[0])) return false;
    for (size_t i = 1; i < name.len; i++) {
        char c = name.data[i];
        if (!is_lower(c) && !(c >= '0' && c <= '9') && c != '_') return false;
    }
    return true;
}

bool pair_is_field(slice name, slice value) {
    if (!is_name(name) || value.len > PAIR_VALUE_MAX) return false;
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.data[i];
        if (c < ' ' || c == 0x7f) return false;
    }
    return true;
}
