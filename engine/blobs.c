#include "blobs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"
#include "settings.h"

enum {
    TEMPORARY_CHARS = 1 + SHA256_HEX_CHARS + 1 + 6, /* ".<digest>.XXXXXX" */
    MAX_ATTEMPTS = 16 /* each lost to another process that removed or made the same file in between */
};

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static blob *blobs; /* guarded */
static void (*on_last_release)(const char *digest);

void blobs_init(void (*last_release)(const char *digest)) {
    on_last_release = last_release;
}

/* ---- paths and locks ---- */

static char *joined_path(const char *directory, const char *name) {
    size_t size = strlen(directory) + strlen(name) + 2;
    char *path = memory.alloc(size);
    snprintf(path, size, "%s/%s", directory, name);
    return path;
}

char *blobs_directory(void) {
    char here[PATH_MAX];
    if (settings.models_dir[0] == '/') return joined_path("", settings.models_dir + 1);
    return getcwd(here, sizeof here) == NULL ? NULL : joined_path(here, settings.models_dir);
}

/* Make the directories on the way to an absolute path. False with errno set. */
static bool make_directory_of(char *path) {
    bool made = true; /* the last one tells whether it worked */
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        made = mkdir(path, 0700) == 0 || errno == EEXIST;
        *slash = '/';
    }
    return made;
}

static bool lock(int fd, int operation) {
    while (flock(fd, operation) != 0) {
        if (errno != EINTR) return false;
    }
    return true;
}

/* Does the path still lead to the open file? *size: its length. */
static bool is_same_file(int fd, const char *path, size_t *size) {
    struct stat opened, named;
    if (fstat(fd, &opened) != 0 || lstat(path, &named) != 0) return false;
    *size = (size_t)opened.st_size;
    return opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

/* Remove the file unless somebody else refers to it. Gives up the lock that fd has. */
static void remove_if_unused(int fd, const char *path) {
    size_t size;
    if (lock(fd, LOCK_EX | LOCK_NB) && is_same_file(fd, path, &size)) unlink(path);
}

/* Open and lock a file that holds `size` bytes. -1: there is none (errno is ENOENT) or it cannot be opened. */
static int open_existing(const char *path, size_t size) {
    for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        size_t found;
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0) return -1;
        if (lock(fd, LOCK_SH) && is_same_file(fd, path, &found)) {
            if (found == size) return fd;
            remove_if_unused(fd, path); /* cut short by a full disk or a person: not what its name says */
        }
        close(fd);
    }
    errno = EBUSY;
    return -1;
}

/* ---- writing ---- */

struct blob_writer {
    char digest[SHA256_HEX_CHARS + 1];
    size_t size;    /* told */
    size_t written; /* so far */
    size_t in_file; /* of that */
    bool must;      /* go on in memory where it cannot be written */
    int unwritten;  /* errno: it went on in memory */
    sha256 sum;     /* of what came, if told to check */
    bool checks;
    char *path;      /* of the file, NULL if there is no directory */
    char *temporary; /* of the file while it is written; NULL when there is none */
    int fd;          /* with a shared lock; -1 */
    blob *known;     /* held already by this process: nothing to write */
    int failed;      /* errno of what failed first */
};

static void writer_drop_temporary(blob_writer *w) {
    if (w->temporary == NULL) return;
    unlink(w->temporary);
    memory.free(w->temporary);
    w->temporary = NULL;
}

static void writer_drop_file(blob_writer *w) {
    writer_drop_temporary(w);
    if (w->fd >= 0) {
        lock(w->fd, LOCK_UN); /* a forked child may have the descriptor, too: closing alone would not unlock */
        close(w->fd);
    }
    w->fd = -1;
}

static bool copy_file(int from, int to, size_t bytes) {
    off_t at = 0;
    while ((size_t)at < bytes) {
        ssize_t n = sendfile(to, from, &at, bytes - (size_t)at);
        if (n == 0 || (n < 0 && errno != EINTR)) return false;
    }
    return true;
}

static void writer_move_to_memory(blob_writer *w) {
    static const char format[] = "/proc/%ld/fd/%d";
    enum { PATH_CHARS = sizeof format + 40 };
    int fd = memfd_create("keymiss-model", MFD_CLOEXEC);
    if (fd < 0) return;
    if (!copy_file(w->fd, fd, w->in_file)) {
        close(fd);
        return;
    }
    writer_drop_file(w);
    memory.free(w->path);
    w->path = memory.alloc(PATH_CHARS);
    snprintf(w->path, PATH_CHARS, format, (long)getpid(), fd);
    w->fd = fd;
    w->unwritten = w->failed;
    w->failed = 0;
}

static void writer_fail(blob_writer *w) {
    if (w->failed != 0) return;
    w->failed = errno;
    if (w->must && !w->unwritten) writer_move_to_memory(w);
}

static void writer_make_temporary(blob_writer *w) {
    size_t directory = strlen(w->path) - SHA256_HEX_CHARS;
    size_t size = directory + TEMPORARY_CHARS + 1;
    w->temporary = memory.alloc(size);
    snprintf(w->temporary, size, "%.*s.%s.XXXXXX", (int)directory, w->path, w->digest);
    w->fd = mkostemp(w->temporary, O_CLOEXEC); /* 0600 */
    if (w->fd < 0) {
        writer_fail(w);
        memory.free(w->temporary);
        w->temporary = NULL;
    } else {
        lock(w->fd, LOCK_SH); /* before it has its name: nobody may find it unlocked */
    }
}

/* The mutex is held. */
static blob *known(const char *digest) {
    blob *b = blobs;
    while (b != NULL && strcmp(b->digest, digest) != 0) b = b->next;
    return b;
}

static blob *hold_known(const char *digest) {
    pthread_mutex_lock(&guard);
    blob *b = known(digest);
    if (b != NULL) b->refs++;
    pthread_mutex_unlock(&guard);
    return b;
}

/* directory: NULL where blobs_directory() gave that, with its errno. */
static blob_writer *writer_open(const char *directory, const char *digest, size_t size, bool checks, bool must) {
    blob_writer *w = memory.alloc(sizeof *w);
    *w = (blob_writer){.size = size, .checks = checks, .must = must, .fd = -1};
    snprintf(w->digest, sizeof w->digest, "%s", digest);
    sha256_init(&w->sum);
    w->known = hold_known(digest);
    if (w->known != NULL) return w;
    w->path = directory == NULL ? NULL : joined_path(directory, digest);
    if (w->path == NULL || !make_directory_of(w->path)) {
        writer_fail(w);
    } else {
        w->fd = open_existing(w->path, size);
        if (w->fd < 0 && errno == ENOENT) writer_make_temporary(w);
        else if (w->fd < 0) writer_fail(w);
    }
    return w;
}

blob_writer *blob_writer_open(const char *digest, size_t size, bool must) {
    char *directory = blobs_directory();
    blob_writer *w = writer_open(directory, digest, size, true, must);
    memory.free(directory);
    return w;
}

bool blob_writer_add(blob_writer *w, const void *data, size_t len) {
    const char *at = data;
    size_t left = len;
    if (w->checks) sha256_add(&w->sum, data, len);
    w->written += len;
    while ((w->temporary != NULL || w->unwritten) && w->failed == 0 && left > 0) {
        ssize_t n = write(w->fd, at, left);
        if (n < 0 && errno != EINTR) writer_fail(w);
        if (n > 0) {
            at += n;
            left -= (size_t)n;
            w->in_file += (size_t)n;
        }
    }
    return w->failed == 0;
}

/* Give the file its name. If another process was faster, take its file. */
static void writer_publish(blob_writer *w) {
    for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        if (link(w->temporary, w->path) == 0) {
            writer_drop_temporary(w);
            return;
        }
        if (errno != EEXIST) break;
        int fd = open_existing(w->path, w->size);
        if (fd >= 0) {
            writer_drop_file(w);
            w->fd = fd;
            return;
        }
        if (errno != ENOENT) break;
    }
    writer_fail(w);
}

/* Unmap and unlock a blob that is in no list, and free it. */
static void blob_close(blob *b) {
    if (b->size > 0) munmap((void *)b->data, b->size);
    lock(b->fd, LOCK_UN); /* a forked child may have the descriptor, too: closing alone would not unlock */
    close(b->fd);
    memory.free(b->path);
    memory.free(b);
}

/* The blob of a file that is open and locked; takes path and fd over. NULL with errno set, and nothing taken. */
static blob *blob_map(const char *digest, size_t size, char *path, int fd, int unwritten) {
    void *data = NULL;
    blob *b, *other;
    if (size > 0) data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) return NULL;
    b = memory.alloc(sizeof *b);
    *b = (blob){.path = path, .data = data == NULL ? "" : data, .size = size, .fd = fd, .unwritten = unwritten, .refs = 1};
    snprintf(b->digest, sizeof b->digest, "%s", digest);
    pthread_mutex_lock(&guard);
    other = known(digest);
    if (other != NULL) {
        other->refs++;
    } else {
        b->next = blobs;
        blobs = b;
    }
    pthread_mutex_unlock(&guard);
    if (other == NULL) return b;
    blob_close(b); /* another thread was faster */
    return other;
}

static blob *writer_map(blob_writer *w) {
    blob *b = blob_map(w->digest, w->size, w->path, w->fd, w->unwritten);
    if (b == NULL) {
        w->failed = errno;
    } else {
        w->path = NULL;
        w->fd = -1;
    }
    return b;
}

blob *blob_writer_close(blob_writer *w) {
    blob *b = NULL;
    char sum[SHA256_HEX_CHARS + 1];
    bool as_told = w->written == w->size;
    int failed;
    if (w->checks) {
        sha256_end_hex(&w->sum, sum);
        as_told = as_told && strcmp(sum, w->digest) == 0;
    }
    if (w->failed == 0 && as_told) {
        if (w->temporary != NULL) writer_publish(w);
        if (w->failed == 0) b = w->known != NULL ? w->known : writer_map(w);
    }
    if (b == NULL && w->known != NULL) blob_release(w->known);
    failed = w->failed;
    if (b == NULL && w->temporary == NULL && w->fd >= 0) remove_if_unused(w->fd, w->path);
    writer_drop_file(w);
    memory.free(w->path);
    memory.free(w);
    errno = failed;
    return b;
}

blob *blob_store(const char *directory, const slice *chunks, size_t count, bool must) {
    char digest[SHA256_HEX_CHARS + 1];
    size_t size = 0;
    sha256 sum;
    sha256_init(&sum);
    for (size_t i = 0; i < count; i++) {
        sha256_add(&sum, chunks[i].data, chunks[i].len);
        size += chunks[i].len;
    }
    sha256_end_hex(&sum, digest);
    blob_writer *w = writer_open(directory, digest, size, false, must);
    for (size_t i = 0; i < count; i++) {
        if (!blob_writer_add(w, chunks[i].data, chunks[i].len)) break;
    }
    return blob_writer_close(w);
}

/* Lock a file that another process refers to. *size: its length. False where none does, and nobody vouches for it. */
static bool join_others(int fd, const char *path, size_t *size) {
    if (lock(fd, LOCK_EX | LOCK_NB)) return false;
    return errno == EWOULDBLOCK && lock(fd, LOCK_SH) && is_same_file(fd, path, size);
}

blob *blob_find(const char *digest) {
    blob *b = hold_known(digest);
    if (b != NULL) return b;
    char *directory = blobs_directory();
    if (directory == NULL) return NULL;
    char *path = joined_path(directory, digest);
    size_t size;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && join_others(fd, path, &size)) b = blob_map(digest, size, path, fd, 0);
    if (b == NULL && fd >= 0) close(fd);
    if (b == NULL) memory.free(path);
    memory.free(directory);
    return b;
}

/* ---- releasing ---- */

blob *blob_hold(blob *b) {
    pthread_mutex_lock(&guard);
    b->refs++;
    pthread_mutex_unlock(&guard);
    return b;
}

void blob_release(blob *b) {
    if (b == NULL) return;
    pthread_mutex_lock(&guard);
    bool last = --b->refs == 0;
    if (last) {
        blob **at = &blobs;
        while (*at != b) at = &(*at)->next;
        *at = b->next;
    }
    pthread_mutex_unlock(&guard);
    if (!last) return;
    remove_if_unused(b->fd, b->path);
    if (on_last_release != NULL) on_last_release(b->digest);
    blob_close(b);
}

static bool is_blob_name(const char *name) {
    bool temporary = name[0] == '.' && strlen(name) == TEMPORARY_CHARS && name[1 + SHA256_HEX_CHARS] == '.';
    return temporary ? sha256_is_hex(name + 1, SHA256_HEX_CHARS) : sha256_is_hex(name, strlen(name));
}

void blobs_sweep(void) {
    char *directory = blobs_directory();
    DIR *listing = directory == NULL ? NULL : opendir(directory);
    struct dirent *entry;
    while (listing != NULL && (entry = readdir(listing)) != NULL) {
        if (!is_blob_name(entry->d_name)) continue;
        char *path = joined_path(directory, entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0) {
            remove_if_unused(fd, path); /* ours are locked through another descriptor, so they stay as well */
            close(fd);
        }
        memory.free(path);
    }
    if (listing != NULL) closedir(listing);
    memory.free(directory);
}
