/* events.h: keyspace events given to the registrations that want them (docs/channel.md, EVENT and MISS).
 *
 * A registration without commands gets every event that it wants. One with commands gets those that happen while one of
 * these commands runs in our hook (hooks.c), which collects them here and decides what its client is told. */
#ifndef KEYMISS_EVENTS_H
#define KEYMISS_EVENTS_H

#include "jobs.h"
#include "registration.h"

/* One event for one registration. */
typedef struct event {
    registration *registration; /* held */
    RedisModuleString *key;     /* held */
    int db;
    job_id cause;        /* the job whose command made it happen; 0: a client's, or that of no job */
    bool is_miss;        /* keymiss */
    frame_writer record; /* <key> <event> <type> <value>, as they were when it happened */
    struct event *next;
} event;

typedef struct event_list {
    event *first, *last;
} event_list;

int events_init(RedisModuleCtx *ctx);

/* Events of registrations that name `command` go to `list` until events_collect is called again: with the collector that was
 * in place before, which it returned. NULL: none. */
typedef struct event_collector {
    slice command; /* lower case */
    event_list list;
} event_collector;
event_collector *events_collect(event_collector *collector);

/* What a miss of the key by this command (lower case) would fire first, whether the key is there or not; NULL: nothing.
 * To be freed with event_free. */
event *events_miss(RedisModuleCtx *ctx, RedisModuleString *key, slice command);

/* The job that gives an event to its registration. */
typedef struct event_job {
    job_kind kind;            /* JOB_EVENT, or JOB_MISS with the client's command */
    bool sync;
    bool traced;              /* its worker is to tell the stages that it sees (trace.h) */
    int context_flags;        /* where the event happened */
    unsigned long long command; /* see job_flags.h */
    RedisModuleString **argv; /* the client's command; none for JOB_EVENT */
    int argc;
    uint64_t seen_us;         /* as a job_request's */
    job_callback callback;
    void *arg;
} event_job;
/* As job_submit; counts and, where nobody waits, logs what could not be submitted. */
job_id event_submit(const event *e, const event_job *job, const char **error);

/* Submits and waits, with synchronous registrations off meanwhile: what a synchronous function writes fires none of them. */
void event_run_sync(RedisModuleCtx *ctx, const event *e, event_job *job, const char **error);

/* An event that nobody waits for, whatever its registration's mode is. */
void event_submit_unwatched(const event *e, int context_flags);

void event_free(void *e);

#endif
