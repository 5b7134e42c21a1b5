/* leaving.c: see leaving.h. */
#include "leaving.h"

#include <signal.h>

#include "memory.h"
#include "timers.h"

enum {
    END_GRACE_MS = 2000, /* from the end of its channel until a worker is killed */
    REAP_MS = 100,
    REAP_GIVE_UP_MS = 10000,
};

typedef struct leaving {
    process process;
    timer timer;
    long long waited_ms;
} leaving;

static void see_off(RedisModuleCtx *ctx, void *arg) {
    (void)ctx;
    leaving *l = arg;
    if (process_reap(&l->process) || l->waited_ms >= REAP_GIVE_UP_MS) {
        memory.free(l);
        return;
    }
    if (l->waited_ms >= END_GRACE_MS) process_signal(&l->process, SIGKILL);
    l->waited_ms += REAP_MS;
    timer_start(&l->timer, REAP_MS, see_off, l);
}

void leaving_begin(process *p, int signal) {
    if (p->pid == 0) return;
    process_signal(p, signal);
    if (!process_reap(p)) {
        leaving *l = memory.alloc(sizeof(*l));
        *l = (leaving){.process = *p};
        timer_start(&l->timer, REAP_MS, see_off, l);
    }
    *p = (process){.handle = -1};
}
