/* settings.h: the keymiss.* settings of the server, in one table (settings.c). */
#ifndef KEYMISS_SETTINGS_H
#define KEYMISS_SETTINGS_H

#include "redis_api.h"

typedef struct settings_values {
    const char *models;                     /* "auto": a models worker of our own; "unix:<path>": the host's shared one */
    const char *models_dir;                 /* where model files lie; relative to the data directory */
    const char *python;                     /* interpreter of the workers; empty: found by process.c */
    const char *acl_categories;             /* yes: the AI.* commands are in ACL categories, where servers have that */
    const char *log_level;                  /* least level that is logged: debug, verbose, notice, warning */
    const char *log_format;                 /* of Keymiss's lines in the logs: text, json */
    const char *shard_name;                 /* in metrics, logs and traces; empty: the port */
    const char *metrics_address;            /* where workers listen for those who fetch metrics */
    long long metrics_port;           /* of the functions worker; 0: none */
    long long models_metrics_port;    /* of the models worker; 0: none */
    long long job_timeout_ms;         /* of a job that names no deadline */
    long long sync_timeout_ms;        /* longest that the main thread waits for a job */
    long long execution_timeout_ms;   /* of an RG execution */
    long long hang_timeout_ms;        /* a worker silent for so long is killed */
    long long busy_timeout_ms;        /* longest that a job waits for a worker that reads nothing; 0: to its deadline */
    long long slow_ms;                /* what takes longer is logged; 0: nothing is */
    long long restart_backoff_ms;     /* first pause before a restart; doubles */
    long long max_jobs;               /* at work and waiting, both workers */
    long long max_channel_bytes;      /* waiting to be sent on one channel */
    long long max_frame_bytes;
    long long functions_threads;
    long long functions_processes;    /* 1: functions run in the worker alone */
    long long functions_memory;       /* bytes of one functions process; 0: no limit */
    long long functions_children;     /* processes that functions may have started at a time */
    long long functions_output;       /* bytes that functions may print and log in a second */
    long long max_result_bytes;       /* of one reply of a function */
    long long max_refires;            /* how often in a row a function's own writes may fire it for a key; 0: any number */
    long long loop_timeout_ms;        /* longest that a coroutine may compute without awaiting */
    long long models_threads;         /* 0: as many as cores */
    long long models_memory;          /* bytes; 0: no limit */
    long long model_chunk_size;       /* bytes per element of AI.MODELGET's blob */
    long long answer_ttl_ms;          /* for functions: how long they cache an answer; 0: not at all */
} settings_values;

extern settings_values settings; /* read anywhere; written by settings.c only */

/* Registers and loads the settings. REDISMODULE_ERR, with a line in the log, if the server refuses a value. */
int settings_init(RedisModuleCtx *ctx);

/* Called after a change, with the name without prefix and the value as text. */
typedef void (*settings_listener)(const char *name, const char *value);
void settings_on_change(settings_listener listener);
/* Every setting in the table's order, value as text. */
void settings_each(void (*visit)(void *arg, const char *name, const char *value), void *arg);

/* What CONFIG SET keymiss.<name> does, for a command that changes a setting. REDISMODULE_ERR if the value is refused. */
int settings_set(RedisModuleCtx *ctx, const char *name, const char *value);
/* The same for a number that the server's configuration says nothing of; what it says stays. */
int settings_suggest(RedisModuleCtx *ctx, const char *name, const char *value);

#endif
