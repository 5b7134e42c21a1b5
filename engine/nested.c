/* nested.c: see nested.h.
 *
 * The event loop does not turn while the main thread waits here: the sockets of the workers are polled directly, frames
 * that belong to the wait are handed out at once, and all others are put aside and given back, in order, at the end. */
#include "nested.h"

#include <errno.h>
#include <poll.h>

#include "memory.h"
#include "settings.h"
#include "worker.h"

typedef struct wait {
    struct wait *outer;
    unsigned long long number;
    unsigned depth;
    worker_role role; /* of the job */
    job_id job;
    bool section, section_over;
    unsigned generation[WORKER_ROLES]; /* of the channel that `aside` is from */
    channel_aside aside[WORKER_ROLES];
} wait;

static wait *innermost;
static unsigned long long last_number;

static bool is_waited_for(unsigned long long number) {
    for (const wait *w = innermost; w; w = w->outer) {
        if (w->number == number) return true;
    }
    return false;
}

static bool accept(void *arg, const frame *f) {
    static const struct {
        const char *verb;
        size_t job_at; /* which element names the job; 0: frames that never wait */
    } verbs[] = {{"CALL", 2}, {"DONE", 1}, {"RUN", 2}, {"MODEL", 2}, {"BEGIN", 2}, {"END", 1},
                 {"HOOK", 0}, {"UNHOOK", 0}, {"SEND", 0}, {"KEEP", 0}, {"READY", 0}, {"PONG", 0}, {"LOG", 0}, {"INFO", 0}};
    const wait *w = arg;
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (!slice_is(f->parts[0], verbs[i].verb)) continue;
        long long id;
        if (verbs[i].job_at == 0) return true;
        if (f->count <= verbs[i].job_at || !slice_number(f->parts[verbs[i].job_at], &id)) return true; /* to be refused */
        if ((job_id)id == w->job) return true;
        job_facts facts;
        return job_find((job_id)id, &facts) && facts.wait != 0 && is_waited_for(facts.wait);
    }
    return false;
}

static bool finished(void *arg) {
    const wait *w = arg;
    return w->section_over || (w->job != 0 && !job_find(w->job, NULL));
}

static void release_aside(wait *w, worker_role role) {
    channel *c = worker_open_channel(role);
    if (c && worker_generation(role) == w->generation[role]) channel_give_back(c, &w->aside[role]);
    memory.free(w->aside[role].data);
    w->aside[role] = (channel_aside){0};
}

/* The channel to serve, after letting go of what was put aside from an earlier one. */
static channel *present_channel(wait *w, worker_role role) {
    unsigned generation = worker_generation(role);
    if (w->generation[role] != generation) {
        memory.free(w->aside[role].data);
        w->aside[role] = (channel_aside){0};
        w->generation[role] = generation;
    }
    return worker_open_channel(role);
}

static void poll_channels(wait *w, int timeout_ms) {
    struct pollfd fds[WORKER_ROLES];
    channel *channels[WORKER_ROLES];
    nfds_t count = 0;
    for (int role = 0; role < WORKER_ROLES; role++) {
        channel *c = present_channel(w, (worker_role)role);
        bool full = w->aside[role].len > (size_t)settings.max_channel_bytes;
        if (!c || channel_ended(c) || full) continue;
        short events = channel_wants_write(c) ? POLLIN | POLLOUT : POLLIN;
        fds[count] = (struct pollfd){.fd = channel_fd(c), .events = events};
        channels[count++] = c;
    }
    if (poll(fds, count, timeout_ms) <= 0) return;
    for (nfds_t i = 0; i < count; i++) {
        if (fds[i].revents & POLLOUT) channel_flush(channels[i]);
        if (fds[i].revents & ~POLLOUT) channel_read(channels[i]);
    }
}

/* What each worker has sent for this wait, and what that has led to. */
static void serve_workers(RedisModuleCtx *ctx, wait *w) {
    for (int r = 0; r < WORKER_ROLES && !finished(w); r++) {
        worker_role role = (worker_role)r;
        channel *c = present_channel(w, role);
        if (!c) continue;
        channel_serve_some(ctx, c, &w->aside[role], accept, finished, w);
        c = present_channel(w, role);
        if (c) channel_flush(c);
        if (c && channel_ended(c) && role != w->role) jobs_fail_waited(ctx, role, w->number);
    }
}

/* `generation`: of the worker when the wait began. */
static bool is_lost(const wait *w, unsigned generation) {
    const channel *c = worker_open_channel(w->role);
    return !c || channel_ended(c) || worker_generation(w->role) != generation;
}

static nested_end serve_until(RedisModuleCtx *ctx, wait *w, uint64_t until_us) {
    unsigned generation = worker_generation(w->role);
    for (;;) {
        serve_workers(ctx, w);
        if (finished(w)) return NESTED_FINISHED;
        if (is_lost(w, generation)) return NESTED_LOST;
        uint64_t now = RedisModule_MonotonicMicroseconds();
        if (now >= until_us) return NESTED_TIMED_OUT;
        uint64_t left_ms = (until_us - now) / 1000 + 1;
        poll_channels(w, left_ms > 1000 ? 1000 : (int)left_ms);
    }
}

nested_end nested_serve(RedisModuleCtx *ctx, worker_role role, job_id job, bool section, uint64_t until_us) {
    wait w = {.outer = innermost, .number = ++last_number, .role = role, .job = job, .section = section};
    w.depth = innermost ? innermost->depth + 1 : 1;
    if (w.depth > NESTED_MAX_DEPTH) return NESTED_TOO_DEEP;
    innermost = &w;
    worker_need_now(role);
    nested_end end = serve_until(ctx, &w, until_us);
    for (int r = 0; r < WORKER_ROLES; r++) release_aside(&w, (worker_role)r);
    innermost = w.outer;
    return end;
}

void nested_end_section(job_id job) {
    for (wait *w = innermost; w; w = w->outer) {
        if (w->section && !w->section_over && w->job == job) {
            w->section_over = true;
            return;
        }
    }
}

bool nested_active(void) {
    return innermost != NULL;
}

bool nested_in_command(void) {
    const wait *w = innermost;
    while (w && w->section) w = w->outer;
    return w != NULL;
}

unsigned long long nested_wait(void) {
    return innermost ? innermost->number : 0;
}
