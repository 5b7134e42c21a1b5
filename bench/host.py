"""Shards of one host that share a folder of models, with one models worker or one each, and what memory they
take."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from keymiss.children import end

from .servers import STOP_DEADLINE_S, running
from .subjects import Subject

POLL_S, SETTLED_SHARE, SETTLE_DEADLINE_S = 0.25, 0.005, 30.0
LISTEN_DEADLINE_S = 30.0


@dataclass(frozen=True)
class Host:
    """Clients of its shards, and the models worker that they share, where they do."""

    shards: list[redis.Redis]
    worker: subprocess.Popen[bytes] | None

    @property
    def server_pids(self) -> list[int]:
        return [int(shard.info("server")["process_id"]) for shard in self.shards]

    @property
    def pids(self) -> list[int]:
        """Servers and all workers."""
        pids = self.server_pids
        return pids + [child for pid in pids for child in _children(pid)] + self.shared_worker_pids

    @property
    def shared_worker_pids(self) -> list[int]:
        return [self.worker.pid] if self.worker is not None else []

    def settled_bytes(self, rest_s: float) -> tuple[int, int]:
        """Memory of all processes, what several map counted once, and of servers alone (Rss), once neither
        has fallen for so long: allocators give memory back bit by bit."""
        servers, end_s = self.server_pids, time.monotonic() + SETTLE_DEADLINE_S
        pids, least, since_s = self.pids, math.inf, time.monotonic()
        while True:
            now = memory_together(pids)
            of_servers = sum(memory_of(pid, "Rss") for pid in servers)
            if now + of_servers < least * (1 - SETTLED_SHARE):
                least, since_s = now + of_servers, time.monotonic()
            if time.monotonic() > min(since_s + rest_s, end_s):
                return now, of_servers
            time.sleep(POLL_S)


@contextmanager
def host(
    binary: str, shards: int, shared_worker: bool, settings: Mapping[str, object] | None = None
) -> Iterator[Host]:
    """So many servers that keep nothing, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="keymiss-bench-") as folder, ExitStack() as stack:
        told: dict[str, object] = {"keymiss.models-dir": f"{folder}/models", **(settings or {})}
        worker = None
        if shared_worker:
            path = Path(folder, "models.sock")
            worker = stack.enter_context(_worker(path))
            told["keymiss.models"] = f"unix:{path}"
        yield Host([stack.enter_context(running(binary, True, told)) for _ in range(shards)], worker)


@contextmanager
def _worker(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "keymiss.inference", "--listen", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end_s = time.monotonic() + LISTEN_DEADLINE_S
        while not path.exists():
            if process.poll() is not None or time.monotonic() > end_s:
                raise RuntimeError("the models worker did not start")
            time.sleep(0.02)
        yield process
    finally:
        end(process, STOP_DEADLINE_S)


def memory_together(pids: Iterable[int]) -> int:
    """Bytes that these processes have in memory; where several map a file, the most that one has of it.

    Not the sum of their Pss: that depends on who else on the host maps the same libraries."""
    files: dict[tuple[str, ...], int] = {}
    anonymous = 0
    for pid in pids:
        anonymous += memory_of(pid, "Pss_Anon")
        for mapped, size in _mapped_files(pid):
            files[mapped] = max(files.get(mapped, 0), size)
    return anonymous + sum(files.values())


def _mapped_files(pid: int) -> Iterator[tuple[tuple[str, ...], int]]:
    """Each mapping of a file or of shared memory, by device, inode, offset and rights, and the bytes of it
    that are in memory and not the process' own. Nothing where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return
    mapped: tuple[str, ...] = ()
    size = 0
    for line in lines:
        name, *values = line.split()
        if not name.endswith(":"):  # <addresses> <rights> <offset> <device> <inode> <path>
            rights, offset, device, inode = values[:4]
            mapped = (device, inode, offset, rights)
        elif name == "Rss:":
            size = int(values[0]) * 1024
        elif name == "Anonymous:" and mapped[1] != "0":
            yield mapped, size - int(values[0]) * 1024


def memory_of(pid: int, field: str) -> int:
    """A figure of a process' /proc/<pid>/smaps_rollup (Rss, Pss_Anon) in bytes; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def _children(pid: int) -> list[int]:
    """The processes that it started, and theirs."""
    lists = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    direct = [int(child) for one in lists for child in one.split()]
    return direct + [below for child in direct for below in _children(child)]


# Models on shards


def store(shard: redis.Redis, key: str, subject: Subject, *told: bytes | str) -> None:
    """`told`: BLOB and bytes, or DIGEST and those."""
    shard.execute_command("AI.MODELSTORE", key, subject.backend, "CPU", *told)


def set_inputs(shard: redis.Redis, subject: Subject) -> None:
    for n in range(subject.inputs):
        shard.execute_command("AI.TENSORSET", f"in{n}", subject.dtype, *subject.shape, "BLOB", subject.blob)


def execute(shard: redis.Redis, key: str, subject: Subject) -> None:
    """Run the model on inputs that were set."""
    inputs = [f"in{n}" for n in range(subject.inputs)]
    outputs = [f"out{n}" for n in range(subject.outputs)]
    told = ("INPUTS", len(inputs), *inputs, "OUTPUTS", len(outputs), *outputs)
    shard.execute_command("AI.MODELEXECUTE", key, *told)
