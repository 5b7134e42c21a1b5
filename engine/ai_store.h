/* ai_store.h: AI.MODELSTORE, AI.SCRIPTSTORE and their older forms, from a user: only the models worker can tell whether what
 * was given is any good. When it says so, the key is made and replicas and the AOF are told, with what the worker said.
 * So whoever hears it from us asks no worker. */
#ifndef KEYMISS_AI_STORE_H
#define KEYMISS_AI_STORE_H

#include "jobs.h"

typedef struct store_kind {
    job_kind job;
    const char *(*check_key)(RedisModuleCtx *ctx, RedisModuleString *key); /* NULL where it may be stored */
    /* What the DONE says behind its reply (all of it is `done`), when that is +OK. False if it is malformed. */
    bool (*read)(void *value, const frame *done);
    void (*store)(RedisModuleCtx *ctx, RedisModuleString *key, void *value); /* and replicate; keeps nothing of value */
    void (*free)(void *value);
} store_kind;

/* Asks the worker, with these elements of the job, and answers the client OK or what is wrong. Takes body and value over.
 * In a transaction or a Lua script there is nobody to answer later: the main thread waits, keymiss.sync-timeout-ms at
 * most. */
int ai_store(RedisModuleCtx *ctx, const store_kind *kind, RedisModuleString *key, frame_writer body, void *value);

#endif
