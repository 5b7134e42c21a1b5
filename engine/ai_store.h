/* ai_store.h: AI.MODELSTORE, AI.SCRIPTSTORE and their older forms, from a user: only the models worker can tell whether what
 * was given is any good. When it says so, the key is made and replicas and the AOF are told, with what the worker said.
 * So whoever hears it from us asks no worker. */
#ifndef KEYMISS_AI_STORE_H
#define KEYMISS_AI_STORE_H

#include "jobs.h"

typedef struct store_kind {
    job_kind job;
    void (*prepare)(void *value); /* first of all, in whatever thread; NULL: nothing to do */
    /* Writes the elements of the job that asks the worker. NULL, or why it cannot be asked, which lives as long as value. */
    const char *(*write)(void *value, frame_writer *body);
    const char *(*check_key)(RedisModuleCtx *ctx, RedisModuleString *key); /* NULL where it may be stored */
    /* What the DONE says behind its reply (all of it is `done`), when that is +OK. False if it is malformed. */
    bool (*read)(void *value, const frame *done);
    void (*store)(RedisModuleCtx *ctx, RedisModuleString *key, void *value); /* and replicate; keeps nothing of value */
    void (*free)(void *value);
} store_kind;

/* Prepares the value, asks the worker, and answers the client OK or what is wrong. Takes value over. `long_prepare`: to
 * prepare it takes so long that other clients must be served meanwhile; where the main thread waits none is, anyhow. In a
 * transaction or a Lua script there is nobody to answer later: the main thread does and waits for everything,
 * keymiss.sync-timeout-ms at most for the worker. */
int ai_store(RedisModuleCtx *ctx, const store_kind *kind, RedisModuleString *key, void *value, bool long_prepare);

#endif
