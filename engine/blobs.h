/* blobs.h: the bytes of models, as files named after their SHA-256 and mapped read-only.
 *
 * The directory (keymiss.models-dir) may be shared by the shards of a host, and the models worker maps the same files,
 * so a model is in memory once whoever holds it. Rules, for this process and the others:
 *
 * 1. A file `<sha256>` is complete from the moment it has that name (it is written under another and linked), and
 *    never changes. It is removed only by a process that has an exclusive lock on it.
 * 2. Who refers to a file keeps it open with a shared lock. A blob here is that: one for each digest in use, counted.
 * 3. flock(2) turns a shared lock into an exclusive one in two steps. So whoever has got a lock, of either kind, looks
 *    whether the path still is the file that it opened, before using or removing it.
 * 4. What must not fail (data that is loaded, what a master sends) and cannot be written is kept in memory, which only
 *    this process and its models worker see. It takes that until the last reference is gone, and is written to no file.
 * 5. Blobs may be stored and released in any thread; a mutex guards the list. Everything else is for the main thread.
 *    A child that the server forks only reads `data`. */
#ifndef KEYMISS_BLOBS_H
#define KEYMISS_BLOBS_H

#include "resp.h"
#include "sha256.h"

typedef struct blob {
    char digest[SHA256_HEX_CHARS + 1];
    char *path; /* absolute */
    const char *data;
    size_t size;
    int fd; /* holds the shared lock */
    int unwritten; /* 0, or why it is in memory: errno. The path is then of this process */
    unsigned refs;
    struct blob *next;
} blob;

/* What last_release is told: no blob of this process has that digest any more. In any thread. */
void blobs_init(void (*last_release)(const char *digest));

/* The directory now, absolute; for the caller to free. NULL with errno set. */
char *blobs_directory(void);

/* The blob of these bytes, one after the other, with a reference for the caller; written into the directory only if no
 * file there holds them yet. NULL with errno set where the file cannot be made and need not (must: rule 4). In any
 * thread: a second for each 1.5 GB to hash, where the processor has instructions for that, and as much to write. */
blob *blob_store(const char *directory, const slice *chunks, size_t count, bool must);

/* The blob with this digest, with a reference for the caller, where this process or another one that is alive refers to
 * it: they have seen its bytes. NULL else. */
blob *blob_find(const char *digest);

/* The same for bytes that come piece by piece, whose digest and size are told first. */
typedef struct blob_writer blob_writer;
blob_writer *blob_writer_open(const char *digest, size_t size, bool must);
/* False once anything went wrong. */
bool blob_writer_add(blob_writer *w, const void *data, size_t len);
/* The blob; NULL with errno set if a write failed, or 0 if the bytes were not what was told. Frees the writer. */
blob *blob_writer_close(blob_writer *w);

blob *blob_hold(blob *b); /* returns b */
void blob_release(blob *b); /* NULL is fine */

/* Remove files that nobody refers to: what a process left that was killed. For when the data set is loaded. */
void blobs_sweep(void);

#endif
