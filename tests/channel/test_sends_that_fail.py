"""The system has no memory for what a server and its worker send each other: it is sent again, not lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.functions import answering_misses, register
from support.preload import Preloaded
from support.server import Server

# Every third time, on unix sockets, which only they use between them.
FAILING = r"""
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <sys/socket.h>

static atomic_uint calls;

static int fails(int fd) {
    int domain = 0;
    socklen_t size = sizeof domain;
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
    return domain == AF_UNIX && ++calls % 3 == 0;
}

static ssize_t no_memory(void) {
    errno = calls % 2 ? ENOBUFS : ENOMEM;
    return -1;
}

ssize_t send(int fd, const void *data, size_t size, int flags) {
    ssize_t (*real)(int, const void *, size_t, int) = dlsym(RTLD_NEXT, "send");
    return fails(fd) ? no_memory() : real(fd, data, size, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    ssize_t (*real)(int, const struct msghdr *, int) = dlsym(RTLD_NEXT, "sendmsg");
    return fails(fd) ? no_memory() : real(fd, message, flags);
}
"""

BODY = "    override_reply(execute('GET', 'text') + record['key'])\n"


def test_nothing_is_lost_where_memory_is_short(make_server: Callable[..., Server], tmp_path: Path) -> None:
    server = make_server(environment=Preloaded(tmp_path, FAILING).environment)
    with server.client() as client, ThreadPoolExecutor(8) as pool:
        client.set("text", "answer for ")
        register(client, answering_misses("q", BODY))
        asked = [f"q{n}" for n in range(500)]
        assert list(pool.map(client.get, asked)) == [f"answer for {key}".encode() for key in asked]
