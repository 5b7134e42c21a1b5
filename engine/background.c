/* background.c: see background.h.
 *
 * 1. A task belongs to the queue until the thread takes it, then to the thread, and from the one-shot event on to the
 *    main thread, which frees it. Whoever has a task is the only one to touch it.
 * 2. The mutex guards the queue alone; nothing is run while it is held.
 * 3. The thread takes no signals: they are the server's. It ends with the process. */
#include "background.h"

#include <pthread.h>
#include <signal.h>

#include "memory.h"

typedef struct task {
    void (*work)(void *arg);
    unit_function then;
    void *arg;
    struct task *next;
} task;

static struct {
    pthread_mutex_t guard;
    pthread_cond_t added;
    task *first, **last; /* guarded */
    bool started;        /* main thread */
} queue = {.guard = PTHREAD_MUTEX_INITIALIZER, .added = PTHREAD_COND_INITIALIZER, .last = &queue.first};

/* In the event loop, on the main thread. */
static void end(void *arg) {
    task *t = arg;
    unit_add(t->then, t->arg);
    memory.free(t);
}

static void *serve(void *unused) {
    (void)unused;
    for (;;) {
        pthread_mutex_lock(&queue.guard);
        while (queue.first == NULL) pthread_cond_wait(&queue.added, &queue.guard);
        task *t = queue.first;
        queue.first = t->next;
        if (queue.first == NULL) queue.last = &queue.first;
        pthread_mutex_unlock(&queue.guard);
        t->work(t->arg);
        RedisModule_EventLoopAddOneShot(end, t);
    }
    return NULL;
}

static bool start(void) {
    pthread_t thread;
    sigset_t all, before;
    if (queue.started) return true;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    queue.started = pthread_create(&thread, NULL, serve, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!queue.started) return false;
    pthread_setname_np(thread, "keymiss"); /* what top shows */
    pthread_detach(thread);
    return true;
}

void background_run(void (*work)(void *arg), unit_function then, void *arg) {
    if (!start()) {
        work(arg);
        unit_add(then, arg);
        return;
    }
    task *t = memory.alloc(sizeof *t);
    *t = (task){.work = work, .then = then, .arg = arg};
    pthread_mutex_lock(&queue.guard);
    *queue.last = t;
    queue.last = &t->next;
    pthread_cond_signal(&queue.added);
    pthread_mutex_unlock(&queue.guard);
}
