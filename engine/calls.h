/* calls.h: what the functions worker asks of the shard: CALL, RUN, BEGIN and END, and the answers to it. */
#ifndef KEYMISS_CALLS_H
#define KEYMISS_CALLS_H

#include "jobs.h"

/* Who asked: a frame of one generation of the functions worker, answered once by RESULT or OUTPUTS. */
typedef struct asker {
    unsigned generation;
    unsigned long long seq;
} asker;

void calls_init(RedisModuleCtx *ctx);

/* From the <seq> of a frame that is being handled. False if it is no number (the frame is then malformed). */
bool asker_read(slice seq, asker *out);
/* RESULT <seq> <reply>: reply is one whole RESP2 value. Dropped if that worker is gone. */
void asker_result(asker a, const char *reply, size_t len);
void asker_result_ok(asker a);
void asker_result_error(asker a, const char *error); /* a whole error, code first, no line ends */
/* OUTPUTS <seq> <reply> <n> ...: tensors are three elements each (dtype, shape, data); 3 * n elements in parts. */
void asker_outputs(asker a, slice reply, const slice *parts, size_t n);
void asker_outputs_error(asker a, const char *error);

/* RUN: the handler opens the model at `key` (ctx is in the job's database), submits a JOB_RUN to the models worker and
 * answers with asker_outputs. The request is valid during the call only. */
typedef struct run_request {
    asker from;
    job_id job;            /* 0: outside any job */
    long long deadline_ms; /* 0: the default */
    slice key;
    const slice *inputs;   /* dtype, shape, data of each */
    size_t count;          /* tensors */
} run_request;
typedef void (*run_handler)(RedisModuleCtx *ctx, const run_request *request);
void calls_on_run(run_handler handler);

/* The CALL that the running command was started by, if any: then a command that must wait takes it over with
 * calls_defer and answers it later, and the RESULT waits until then. */
bool calls_current(asker *out);
void calls_defer(void);

#endif
