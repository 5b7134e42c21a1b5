/* process.c: see process.h. posix_spawn, never fork: the server may hold hundreds of gigabytes. */
#include "process.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"

enum {
    CHANNEL_FD = 3,       /* docs/channel.md: what the worker inherits */
    PIDFD_GROUP = 1 << 2,  /* PIDFD_SIGNAL_PROCESS_GROUP */
};

extern char **environ;

/* Installed by pip, keymiss.so is <prefix>/lib/pythonX.Y/site-packages/keymiss/keymiss.so: take that prefix's Python. */
static const char *find_python(char out[PATH_MAX]) {
    static const char inside_keymiss_so;
    Dl_info info;
    if (dladdr(&inside_keymiss_so, &info) && realpath(info.dli_fname, out)) {
        for (int levels = 5; levels > 0; levels--) {
            char *slash = strrchr(out, '/');
            if (!slash) return "python3";
            *slash = 0;
        }
        if (strlen(out) + sizeof("/bin/python3") <= PATH_MAX) {
            strcat(out, "/bin/python3");
            if (access(out, X_OK) == 0) return out;
        }
    }
    return "python3";
}

/* The server's environment, with the data directory (where the server runs) kept out of Python's module path. */
static char **worker_environment(void) {
    static char safe_path[] = "PYTHONSAFEPATH=1";
    size_t count = 0;
    while (environ[count]) count++;
    char **all = memory.alloc((count + 2) * sizeof(*all));
    memcpy(all, environ, count * sizeof(*all));
    all[count] = safe_path;
    all[count + 1] = NULL;
    return all;
}

static int spawn(pid_t *pid, const char *python, const char *module, int channel_fd) {
    char *argv[] = {(char *)python, "-m", (char *)module, NULL};
    char **environment = worker_environment();
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&files, channel_fd, CHANNEL_FD);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
#if defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 34)
    posix_spawn_file_actions_addclosefrom_np(&files, CHANNEL_FD + 1);
#endif
#endif
    /* A group of its own: Ctrl-C at the server's terminal is the server's to handle. */
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    int failed = posix_spawnp(pid, python, &files, &attributes, argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    memory.free(environment);
    return failed;
}

int process_start(process *p, const char *python, const char *module, char *error, size_t error_size) {
    char found[PATH_MAX];
    int fds[2];
    *p = (process){.handle = -1};
    if (*python == 0) python = find_python(found);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        snprintf(error, error_size, "no socket pair: %s", strerror(errno));
        return -1;
    }
    int failed = spawn(&p->pid, python, module, fds[1]);
    close(fds[1]);
    if (failed || fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0) {
        snprintf(error, error_size, "%s: %s (keymiss.python)", python, strerror(failed ? failed : errno));
        close(fds[0]);
        p->pid = 0;
        return -1;
    }
    p->handle = (int)syscall(SYS_pidfd_open, p->pid, 0);
    return fds[0];
}

/* Its number may be another's by now; the handle still means its group. Before Linux 6.9 that cannot be told, and what it has
 * started is left alone. */
static void signal_group_of_reaped(const process *p, int signal) {
    syscall(SYS_pidfd_send_signal, p->handle, signal, NULL, PIDFD_GROUP);
}

/* The worker leads a group: what its functions have started is in it. Its number is not given to others before the worker
 * was reaped, by us or by the server, which the handle tells. */
void process_signal(const process *p, int signal) {
    if (p->pid == 0) return;
    bool reaped = p->handle >= 0 && syscall(SYS_pidfd_send_signal, p->handle, 0, NULL, 0) != 0;
    if (reaped) signal_group_of_reaped(p, signal);
    else kill(-p->pid, signal);
}

bool process_reap(process *p) {
    siginfo_t ended = {0};
    if (p->pid && waitid(P_PID, (id_t)p->pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0) {
        if (ended.si_pid == 0) return false;
        kill(-p->pid, SIGKILL); /* nothing that it has started outlives it */
        waitpid(p->pid, NULL, WNOHANG);
    } else {
        signal_group_of_reaped(p, SIGKILL);
    }
    if (p->handle >= 0) close(p->handle);
    *p = (process){.handle = -1};
    return true;
}

int process_connect(const char *path, char *error, size_t error_size) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof(address.sun_path)) {
        snprintf(error, error_size, "%s: the path is too long", path);
        return -1;
    }
    memcpy(address.sun_path, path, len + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) return fd;
    snprintf(error, error_size, "%s: %s (keymiss.models)", path, strerror(errno));
    if (fd >= 0) close(fd);
    return -1;
}
