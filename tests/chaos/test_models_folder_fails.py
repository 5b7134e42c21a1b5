"""The folder of the models takes no more: clients are told; what a server must have it keeps in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from support import torch_models
from support.preload import Preloaded
from support.server import Server, wait_for_replica
from support.waiting import wait_until

# Of the calls that a file in the folder is made by, the one whose number is told fails.
FAILING = r"""
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int fails(int call, const char *path, int error) {
    if (*told != call || !strstr(path, "/models/")) return 0;
    errno = error;
    return 1;
}

ssize_t write(int fd, const void *data, size_t size) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    char link[64], path[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    readlink(link, path, sizeof path - 1);
    if (!fails(1, path, ENOSPC)) return real(fd, data, size);
    off_t there = lseek(fd, 0, SEEK_CUR), room = 1000;
    return there < room ? real(fd, data, room - there) : -1;
}

int mkostemp(char *path, int flags) {
    int (*real)(char *, int) = dlsym(RTLD_NEXT, "mkostemp");
    return fails(2, path, EMFILE) ? -1 : real(path, flags);
}

int link(const char *from, const char *to) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "link");
    return fails(3, to, EIO) ? -1 : real(from, to);
}
"""
CALLS = {"write": "No space left on device", "mkostemp": "Too many open files", "link": "Input/output error"}
KEPT = "its {} bytes are kept in memory"


class Folder(Preloaded):
    """Of servers with its `environment`: `fails(call)` from now on, until it is None."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, FAILING)

    def fails(self, call: str | None) -> None:
        self.tell(0 if call is None else 1 + list(CALLS).index(call))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(params=CALLS)
def call(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(
    make_server: Callable[..., Server], host_models: dict[str, object], folder: Folder
) -> Iterator[Server]:
    yield make_server(settings=host_models, environment=folder.environment)


def files(server: Server) -> list[str]:
    return [file.name for file in (server.folder / "models").iterdir()]


def doubled(client: redis.Redis, model: str) -> Any:
    """What the model makes of 1 and 2, where the server may be a replica."""
    return client.execute_command(
        *("AI.DAGEXECUTE_RO", "ROUTING", model, "|>"),
        *("AI.TENSORSET", "in", "FLOAT", 2, "VALUES", 1, 2, "|>"),
        *("AI.MODELEXECUTE", model, "INPUTS", 1, "in", "OUTPUTS", 1, "out", "|>"),
        *("AI.TENSORGET", "out", "VALUES"),
    )[-1]


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_a_client_is_told_why_and_nothing_is_left(
    server: Server, folder: Folder, call: str, size: int
) -> None:
    blob = torch_models.doubler() + bytes(size)  # what follows the archive is not read
    with contextlib.closing(server.client()) as client:
        folder.fails(call)
        with pytest.raises(redis.ResponseError, match=f"to keymiss.models-dir: {CALLS[call]}"):
            torch_models.store(client, "m", blob)
        assert not client.exists("m") and files(server) == []
        folder.fails(None)
        torch_models.store(client, "m", torch_models.doubler())
        dumped = client.dump("m")
        client.delete("m")
        wait_until(lambda: files(server) == [], 5.0, "the file is gone")
        folder.fails(call)
        with pytest.raises(redis.ResponseError, match="Bad data format"):
            client.restore("m", 0, dumped)
        assert CALLS[call] in server.log and files(server) == []


def test_a_replica_has_all_that_its_master_has(
    make_server: Callable[..., Server],
    host_models: dict[str, object],
    server: Server,
    folder: Folder,
    call: str,
) -> None:
    primary, replica = make_server(settings=host_models), server
    blob = torch_models.doubler()
    with contextlib.closing(primary.client()) as writer, contextlib.closing(replica.client()) as reader:
        torch_models.store(writer, "before", blob)
        folder.fails(call)
        reader.execute_command("REPLICAOF", "127.0.0.1", primary.port)
        wait_for_replica(primary, replica)
        other = torch_models.half()
        torch_models.store(writer, "after", other)
        wait_until(lambda: reader.exists("after"), 10.0, "it has been replicated")
        for key, whole in (("before", blob), ("after", other)):
            assert reader.execute_command("AI.MODELGET", key, "BLOB") == whole
            assert KEPT.format(len(whole)) in replica.log
        assert files(replica) == []
        assert doubled(reader, "before") == [b"2", b"4"]
        writer.delete("before")
        wait_until(lambda: not reader.exists("before"), 10.0, "it is gone")
        reader.execute_command("REPLICAOF", "NO", "ONE")
        with pytest.raises(redis.ResponseError, match=CALLS[call]):
            torch_models.store(reader, "before", blob)


def test_a_restart_brings_all_back(server: Server, folder: Folder, call: str) -> None:
    with contextlib.closing(server.client()) as client:
        torch_models.store(client, "m", torch_models.doubler())
        client.save()
    server.kill()
    for file in files(server):
        (server.folder / "models" / file).unlink()
    folder.fails(call)
    server.start()
    with contextlib.closing(server.client()) as client:
        assert doubled(client, "m") == [b"2", b"4"]
        folder.fails(None)
        client.save()
    server.restart()
    with contextlib.closing(server.client()) as client:
        assert client.execute_command("AI.MODELGET", "m", "BLOB") == torch_models.doubler()
    assert len(files(server)) == 1
