/* prefix.c: a radix tree of patterns.
 *
 * 1. A node stands for the bytes on the way to it. Its values are of two sorts: `any` (patterns that end in '*' here) and
 *    `whole` (patterns that are exactly these bytes).
 * 2. Children are sorted by the first byte of their edge; no two share it, and no edge but the root's is empty.
 * 3. A node other than the root has a value or at least two children, so the tree is never larger than what it holds.
 * 4. Nothing here recurses: patterns come from users and may be nested as deep as they are long. */
#include "prefix.h"

#include "memory.h"

#include <string.h>

typedef struct values {
    void **items;
    size_t count;
} values;

typedef struct node {
    struct node *parent;
    struct node **children; /* sorted by edge[0] */
    size_t child_count;
    char *edge; /* the bytes between parent and this node */
    size_t edge_len;
    values any;   /* patterns that end in '*' here */
    values whole; /* patterns equal to the way to here */
} node;

struct prefix_table {
    node root;
};

static char *copied(const char *data, size_t len) {
    char *p = memory.alloc(len ? len : 1);
    if (len) memcpy(p, data, len);
    return p;
}

static void values_add(values *v, void *item) {
    v->items = memory.realloc(v->items, (v->count + 1) * sizeof *v->items);
    v->items[v->count++] = item;
}

static bool values_remove(values *v, const void *item) {
    size_t i = 0;
    while (i < v->count && v->items[i] != item) i++;
    if (i == v->count) return false;
    memmove(&v->items[i], &v->items[i + 1], (v->count - i - 1) * sizeof *v->items);
    v->count--;
    return true;
}

static void values_visit(const values *v, prefix_visit visit, void *arg) {
    for (size_t i = 0; i < v->count; i++) visit(v->items[i], arg);
}

/* Where the child that starts with `first` is, or where it would be. */
static size_t child_slot(const node *n, char first, bool *found) {
    size_t low = 0, high = n->child_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((unsigned char)n->children[middle]->edge[0] < (unsigned char)first) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found = low < n->child_count && n->children[low]->edge[0] == first;
    return low;
}

static node *child_of(const node *n, char first) {
    bool found;
    size_t slot = child_slot(n, first, &found);
    return found ? n->children[slot] : NULL;
}

static void child_insert(node *parent, node *child) {
    bool found;
    size_t slot = child_slot(parent, child->edge[0], &found);
    parent->children = memory.realloc(parent->children, (parent->child_count + 1) * sizeof *parent->children);
    memmove(&parent->children[slot + 1], &parent->children[slot],
            (parent->child_count - slot) * sizeof *parent->children);
    parent->children[slot] = child;
    parent->child_count++;
    child->parent = parent;
}

static node *node_new(const char *edge, size_t len) {
    node *n = memory.alloc(sizeof *n);
    *n = (node){.edge = copied(edge, len), .edge_len = len};
    return n;
}

static void node_free(node *n) {
    memory.free(n->children);
    memory.free(n->edge);
    memory.free(n->any.items);
    memory.free(n->whole.items);
    memory.free(n);
}

static size_t common_length(const char *a, size_t a_len, const char *b, size_t b_len) {
    size_t n = a_len < b_len ? a_len : b_len, i = 0;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

/* Cut the edge of n after `at` bytes: a new node takes its place and n hangs below it. Returns the new node. */
static node *node_split(node *n, size_t at) {
    node *parent = n->parent;
    bool found;
    size_t slot = child_slot(parent, n->edge[0], &found);
    node *upper = node_new(n->edge, at);
    upper->parent = parent;
    parent->children[slot] = upper;

    memmove(n->edge, n->edge + at, n->edge_len - at);
    n->edge_len -= at;
    child_insert(upper, n);
    return upper;
}

static bool pattern_is_any(const char *pattern, size_t *len) {
    if (*len == 0 || pattern[*len - 1] != '*') return false;
    (*len)--;
    return true;
}

bool prefix_matches(const char *pattern, size_t pattern_len, const char *key, size_t len) {
    if (pattern_len == 0) return false;
    if (pattern_is_any(pattern, &pattern_len)) {
        return pattern_len == 0 || (len >= pattern_len && memcmp(pattern, key, pattern_len) == 0);
    }
    return len == pattern_len && memcmp(pattern, key, len) == 0;
}

prefix_table *prefix_table_new(void) {
    prefix_table *t = memory.alloc(sizeof *t);
    *t = (prefix_table){.root = {0}};
    return t;
}

void prefix_table_free(prefix_table *t) {
    if (!t) return;
    node *n = &t->root;
    for (;;) {
        if (n->child_count > 0) {
            n = n->children[--n->child_count];
            continue;
        }
        if (n == &t->root) break;
        node *parent = n->parent;
        node_free(n);
        n = parent;
    }
    memory.free(t->root.children);
    memory.free(t->root.any.items);
    memory.free(t->root.whole.items);
    memory.free(t);
}

void prefix_table_add(prefix_table *t, const char *pattern, size_t len, void *value) {
    if (len == 0) return; /* matches nothing: there is nothing to keep */
    bool any = pattern_is_any(pattern, &len);
    node *n = &t->root;
    while (len > 0) {
        node *child = child_of(n, pattern[0]);
        if (!child) {
            child = node_new(pattern, len);
            child_insert(n, child);
            n = child;
            break;
        }
        size_t common = common_length(child->edge, child->edge_len, pattern, len);
        n = common < child->edge_len ? node_split(child, common) : child;
        pattern += common;
        len -= common;
    }
    values_add(any ? &n->any : &n->whole, value);
}

/* Restore invariant 3 after a value of n was taken out: drop an empty leaf, join a node with its only child. */
static void node_tidy(node *n) {
    while (n->parent && n->any.count == 0 && n->whole.count == 0 && n->child_count < 2) {
        node *parent = n->parent;
        bool found;
        size_t slot = child_slot(parent, n->edge[0], &found);
        if (n->child_count == 1) {
            node *child = n->children[0];
            n->edge = memory.realloc(n->edge, n->edge_len + child->edge_len);
            memcpy(n->edge + n->edge_len, child->edge, child->edge_len);
            memory.free(child->edge);
            child->edge = n->edge;
            child->edge_len += n->edge_len;
            n->edge = NULL;
            child->parent = parent;
            parent->children[slot] = child;
            node_free(n);
            return;
        }
        memmove(&parent->children[slot], &parent->children[slot + 1],
                (parent->child_count - slot - 1) * sizeof *parent->children);
        parent->child_count--;
        node_free(n);
        n = parent;
    }
}

bool prefix_table_remove(prefix_table *t, const char *pattern, size_t len, const void *value) {
    if (len == 0) return false;
    bool any = pattern_is_any(pattern, &len);
    node *n = &t->root;
    while (len > 0) {
        n = child_of(n, pattern[0]);
        if (!n || n->edge_len > len || memcmp(n->edge, pattern, n->edge_len) != 0) return false;
        pattern += n->edge_len;
        len -= n->edge_len;
    }
    if (!values_remove(any ? &n->any : &n->whole, value)) return false;
    node_tidy(n);
    return true;
}

bool prefix_table_matches(const prefix_table *t, const char *key, size_t len) {
    const node *n = &t->root;
    for (;;) {
        if (n->any.count > 0) return true;
        if (len == 0) return n->whole.count > 0;
        n = child_of(n, key[0]);
        if (!n || n->edge_len > len || memcmp(n->edge, key, n->edge_len) != 0) return false;
        key += n->edge_len;
        len -= n->edge_len;
    }
}

void prefix_table_find(const prefix_table *t, const char *key, size_t len, prefix_visit visit, void *arg) {
    const node *n = &t->root;
    for (;;) {
        values_visit(&n->any, visit, arg);
        if (len == 0) {
            values_visit(&n->whole, visit, arg);
            return;
        }
        n = child_of(n, key[0]);
        if (!n || n->edge_len > len || memcmp(n->edge, key, n->edge_len) != 0) return;
        key += n->edge_len;
        len -= n->edge_len;
    }
}
