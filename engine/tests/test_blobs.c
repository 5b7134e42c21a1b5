/* Blobs on a real disk, with other processes that hold and release the same files. */
#include "../blobs.c"
#include "../memory.c"
#include "../sha256.c"

#include <signal.h>
#include <sys/wait.h>

static int failures, released;
static char folder[] = "/tmp/keymiss-blobs-XXXXXX";
settings_values settings;

static void check(bool ok, const char *what) {
    if (ok) return;
    printf("failed: %s\n", what);
    failures++;
}

static void count_release(const char *digest) {
    (void)digest;
    released++;
}

static blob *store_chunks(const slice *chunks, size_t count) {
    char *directory = blobs_directory();
    blob *b = blob_store(directory, chunks, count, false);
    memory.free(directory);
    return b;
}

static blob *store(const char *text) {
    slice chunk = {text, strlen(text)};
    return store_chunks(&chunk, 1);
}

static int files(void) {
    DIR *listing = opendir(settings.models_dir);
    int count = 0;
    for (struct dirent *e; listing != NULL && (e = readdir(listing)) != NULL;)
        count += e->d_name[0] != '.' || strlen(e->d_name) > 2;
    if (listing != NULL) closedir(listing);
    return count;
}

/* Another process that stores the same bytes, says so, and keeps them until it is told to go on. */
static pid_t holder(const char *text, int *go_on) {
    int ready[2], go[2];
    char byte = 0;
    if (pipe(ready) != 0 || pipe(go) != 0) abort();
    pid_t pid = fork();
    if (pid == 0) {
        close(go[1]);
        blobs = NULL; /* not what the parent holds: a process of its own */
        blob *b = store(text);
        if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 0) _exit(1);
        blob_release(b);
        _exit(b == NULL);
    }
    close(go[0]);
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1) abort();
    close(ready[0]);
    *go_on = go[1];
    return pid;
}

static void finish(pid_t pid, int go_on) {
    int status;
    close(go_on);
    waitpid(pid, &status, 0);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the other process stored its blob");
}

static void test_same_bytes_are_one_blob(void) {
    slice chunks[] = {{"he", 2}, {"", 0}, {"llo", 3}};
    blob *one = store("hello"), *two = store_chunks(chunks, 3);
    check(one != NULL && one == two && one->size == 5 && memcmp(one->data, "hello", 5) == 0, "one blob");
    check(files() == 1, "one file");
    released = 0;
    blob_release(one);
    check(files() == 1 && released == 0, "still one file");
    blob_release(two);
    check(files() == 0 && released == 1, "no file");
}

static void test_no_bytes_are_a_blob_too(void) {
    blob *b = store("");
    check(b != NULL && b->size == 0 && b->data != NULL, "empty blob");
    blob_release(b);
    check(files() == 0, "no file");
}

static void test_a_file_that_another_process_uses_stays(void) {
    int go_on;
    blob *mine = store("shared");
    pid_t other = holder("shared", &go_on);
    blob_release(mine);
    check(files() == 1, "the other process has it");
    blobs_sweep();
    check(files() == 1, "a sweep leaves it");
    mine = store("shared");
    finish(other, go_on);
    check(files() == 1, "this process has it");
    blob_release(mine);
    check(files() == 0, "nobody has it");
}

static void test_many_processes_storing_and_releasing_at_once(void) {
    enum { PROCESSES = 4, ROUNDS = 300 };
    pid_t pids[PROCESSES];
    for (int p = 0; p < PROCESSES; p++) {
        pids[p] = fork();
        if (pids[p] != 0) continue;
        for (int i = 0; i < ROUNDS; i++) {
            blob *b = store("contended");
            size_t size = 0;
            if (b == NULL || memcmp(b->data, "contended", 9) != 0 || !is_same_file(b->fd, b->path, &size)) _exit(1);
            blob_release(b);
        }
        _exit(0);
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status;
        waitpid(pids[p], &status, 0);
        check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "each process found its file whole and named");
    }
    check(files() == 0, "no file is left");
}

static void test_a_digest_finds_what_somebody_refers_to(void) {
    int go_on;
    blob *mine = store("found"), *again = blob_find(mine->digest);
    char digest[SHA256_HEX_CHARS + 1];
    strcpy(digest, mine->digest);
    check(again == mine, "this process has it");
    blob_release(mine);
    blob_release(again);
    check(blob_find(digest) == NULL, "nobody has it");

    pid_t other = holder("found", &go_on);
    mine = blob_find(digest);
    check(mine != NULL && mine->size == 5 && memcmp(mine->data, "found", 5) == 0, "another process has it");
    finish(other, go_on);
    check(files() == 1, "it stays for this one");
    blob_release(mine);
    check(files() == 0, "nobody has it any more");

    other = holder("found", &go_on);
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    close(go_on);
    check(blob_find(digest) == NULL, "nobody vouches for what a killed process left");
    blobs_sweep();
}

enum { THREADS = 4, THREAD_ROUNDS = 300 };

static void *store_and_release(void *directory) {
    slice chunk = {"threads", 7};
    for (int i = 0; i < THREAD_ROUNDS; i++) {
        blob *b = blob_store(directory, &chunk, 1, false);
        if (b == NULL || memcmp(b->data, "threads", 7) != 0) return "lost";
        blob_release(b);
    }
    return NULL;
}

static void test_many_threads_storing_and_releasing_at_once(void) {
    pthread_t threads[THREADS];
    char *directory = blobs_directory();
    for (int t = 0; t < THREADS; t++) pthread_create(&threads[t], NULL, store_and_release, directory);
    for (int t = 0; t < THREADS; t++) {
        void *lost;
        pthread_join(threads[t], &lost);
        check(lost == NULL, "each thread found its blob");
    }
    check(blobs == NULL && files() == 0, "nothing is left");
    memory.free(directory);
}

static void test_a_killed_process_leaves_what_a_sweep_removes(void) {
    int go_on;
    pid_t other = holder("orphan", &go_on);
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    close(go_on);
    check(files() == 1, "left behind");
    blobs_sweep();
    check(files() == 0, "swept");
}

static void test_pieces_must_be_what_was_told(void) {
    char digest[SHA256_HEX_CHARS + 1];
    sha256 sum;
    sha256_init(&sum);
    sha256_add(&sum, "piecewise", 9);
    sha256_end_hex(&sum, digest);

    blob_writer *w = blob_writer_open(digest, 9, false);
    check(blob_writer_add(w, "piece", 5) && blob_writer_add(w, "wise", 4), "pieces");
    blob *b = blob_writer_close(w);
    check(b != NULL && strcmp(b->digest, digest) == 0 && memcmp(b->data, "piecewise", 9) == 0, "whole");
    blob_release(b);

    static const char *const wrong[] = {"piecewisd", "piecewis", "piecewise!", ""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        w = blob_writer_open(digest, 9, false);
        blob_writer_add(w, wrong[i], strlen(wrong[i]));
        check(blob_writer_close(w) == NULL && errno == 0, "refused");
        check(files() == 0, "nothing left");
    }
}

static void test_a_folder_that_cannot_be_is_an_error(void) {
    const char *before = settings.models_dir;
    settings.models_dir = "/proc/no/such/folder";
    check(store("x") == NULL && errno != 0, "no folder");
    settings.models_dir = before;
}

static void test_what_must_be_stored_is_kept_in_memory(void) {
    slice chunk = {"must", 4};
    char read_back[8];
    blob *b = blob_store("/proc/no/such/folder", &chunk, 1, true);
    check(b != NULL && memcmp(b->data, "must", 4) == 0 && b->unwritten == ENOENT, "kept in memory");
    if (b == NULL) return;
    int fd = open(b->path, O_RDONLY);
    check(read(fd, read_back, sizeof read_back) == 4 && memcmp(read_back, "must", 4) == 0, "for the worker to open");
    close(fd);
    blob *again = store("must");
    check(again == b && files() == 0, "the same blob for whoever stores it later");
    int before = released;
    fd = b->fd;
    blob_release(b);
    blob_release(again);
    check(released == before + 1 && fcntl(fd, F_GETFD) < 0, "gone with the last reference");
}

int main(void) {
    if (mkdtemp(folder) == NULL) abort();
    char path[64];
    snprintf(path, sizeof path, "%s/a/models", folder);
    settings.models_dir = path;
    blobs_init(count_release);
    test_same_bytes_are_one_blob();
    test_no_bytes_are_a_blob_too();
    test_a_file_that_another_process_uses_stays();
    test_many_processes_storing_and_releasing_at_once();
    test_a_digest_finds_what_somebody_refers_to();
    test_many_threads_storing_and_releasing_at_once();
    test_a_killed_process_leaves_what_a_sweep_removes();
    test_pieces_must_be_what_was_told();
    test_a_folder_that_cannot_be_is_an_error();
    test_what_must_be_stored_is_kept_in_memory();
    rmdir(path);
    *strrchr(path, '/') = '\0';
    rmdir(path);
    rmdir(folder);
    if (failures == 0) puts("blobs: ok");
    return failures != 0;
}
