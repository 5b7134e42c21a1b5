/* process.h: a worker process as a child, or a connection to one that someone else started. Linux. */
#ifndef KEYMISS_PROCESS_H
#define KEYMISS_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct process {
    pid_t pid;     /* 0: none */
    int handle;    /* pidfd, so that a signal never meets another process with the same number; -1 where unknown */
} process;

/* Start `<python> -m <module>` with one end of a socket pair as descriptor 3, the server's stdout and stderr, and nothing
 * else. Returns our end (non-blocking, close-on-exec), or -1 with a reason in error. An empty python is searched for. */
int process_start(process *p, const char *python, const char *module, char *error, size_t error_size);
/* To the process and to those that it has started (those that left its group excepted). */
void process_signal(const process *p, int signal);
/* If it has ended (the server itself may have learnt of it first), let go of it and say true. */
bool process_reap(process *p);

/* Connect to a unix socket without waiting. Returns the descriptor, or -1 with a reason in error. */
int process_connect(const char *path, char *error, size_t error_size);

#endif
