"""The machine: its processor, memory, limits and disks."""

from __future__ import annotations

import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from keymiss.inference.allocator import find_jemalloc

from .check import Check, Finding, Group, Place, fail, ok, warn

GB = 1 << 30
MB = 1 << 20
FAST = ("amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx_vnni", "avx512f", "avx2")  # of x86
FAST_ON_ARM = ("bf16", "i8mm", "asimddp", "asimd")
CLIENTS = 10_000 + 32  # maxclients of a server, and the files that it keeps for itself
BACKLOG = 511  # tcp-backlog of a server
LEAST_SHM = 64 * MB
LEAST_MEMORY = 2 * GB  # a server, its workers, PyTorch and a small model
TIGHT_DISK, FULL_DISK = 2 * GB, 256 * MB


@dataclass(frozen=True)
class Disk:
    """Room in bytes where `path` is."""

    path: Path
    free: int
    total: int


@dataclass(frozen=True)
class Machine:
    """What this process sees of it. Sizes in bytes; None is no limit, or not known."""

    cores: int
    quota: float | None  # of processor time that a container has, in cores
    features: frozenset[str]
    memory: int
    available: int
    memory_limit: int | None  # of a container
    overcommit: int
    huge_pages: str  # of transparent ones: always, madvise or never
    backlog: int
    open_files: int | None  # what a process may raise its limit to
    address_space: int | None
    shm: Disk | None
    disks: tuple[Disk, ...]
    jemalloc: Path | None


def read_machine(place: Place) -> Machine:
    info = _fields(_text("/proc/meminfo"))
    cpu = _fields(_text("/proc/cpuinfo"))
    memory = _bytes(info.get("MemTotal", "0"))
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        quota=_quota(_text("/sys/fs/cgroup/cpu.max")),
        features=frozenset((cpu.get("flags") or cpu.get("Features") or "").split()),
        memory=memory,
        available=_bytes(info.get("MemAvailable", "0")),
        memory_limit=_number(_text("/sys/fs/cgroup/memory.max")),
        overcommit=_number(_text("/proc/sys/vm/overcommit_memory")) or 0,
        huge_pages=_chosen(_text("/sys/kernel/mm/transparent_hugepage/enabled")),
        backlog=_number(_text("/proc/sys/net/core/somaxconn")) or BACKLOG,
        open_files=_limit(resource.RLIMIT_NOFILE),
        address_space=_limit(resource.RLIMIT_AS),
        shm=disk_of(Path("/dev/shm")),
        disks=tuple(filter(None, map(disk_of, (place.folder.absolute(), Path(tempfile.gettempdir()))))),
        jemalloc=find_jemalloc(),
    )


def disk_of(path: Path) -> Disk | None:
    """The room where `path` is, or will be once it is made; None where there is no such thing."""
    there = next((one for one in (path, *path.parents) if one.exists()), None)
    if there is None or (there == Path("/") and path.parts[:2] == ("/", "dev")):
        return None
    usage = shutil.disk_usage(there)
    return Disk(path, usage.free, usage.total)


def processor(machine: Machine) -> Iterator[Finding]:
    fast = [name for name in (*FAST, *FAST_ON_ARM) if name in machine.features]
    said = f"{machine.cores} cores, {' '.join(fast) or 'no instructions for matrices that are known here'}"
    if machine.quota is not None and machine.quota < machine.cores:
        yield warn(
            f"{said}; but this container may use {machine.quota:.1f} of them at a time",
            f"keymiss up --set keymiss.models-threads={max(1, int(machine.quota))}",
        )
    elif fast:
        yield ok(said)
    else:
        yield warn(said, "keymiss model store --backend torch --precision fp32")


def memory(machine: Machine) -> Iterator[Finding]:
    limit = machine.memory_limit
    room = machine.available if limit is None else min(machine.available, limit)
    said = f"{size_text(room)} of {size_text(machine.memory)} available"
    if limit is not None and limit < machine.memory:
        said += f", at most {size_text(limit)} in this container"
    if room < LEAST_MEMORY:
        yield warn(f"{said}: a deployment takes about {size_text(LEAST_MEMORY)}", "keymiss top --once")
    else:
        yield ok(said)


def overcommit(machine: Machine) -> Iterator[Finding]:
    if machine.overcommit == 1:
        yield ok("vm.overcommit_memory 1")
    else:
        yield warn(
            f"vm.overcommit_memory {machine.overcommit}: saves in the background fail when memory is short",
            "sysctl vm.overcommit_memory=1",
        )


def huge_pages(machine: Machine) -> Iterator[Finding]:
    if machine.huge_pages == "always":
        yield warn(
            "transparent huge pages are always used: saves copy more memory, and commands wait meanwhile",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        )
    elif machine.huge_pages:
        yield ok(f"transparent huge pages: {machine.huge_pages}")


def backlog(machine: Machine) -> Iterator[Finding]:
    if machine.backlog < BACKLOG:
        yield warn(
            f"net.core.somaxconn {machine.backlog}: clients that come all at once are turned away",
            f"sysctl net.core.somaxconn={2 * BACKLOG}",
        )


def open_files(machine: Machine) -> Iterator[Finding]:
    if machine.open_files is None or machine.open_files >= CLIENTS:
        yield ok(f"{machine.open_files or 'any number of'} files may be open")
    else:
        yield warn(
            f"{machine.open_files} files may be open: servers take {max(machine.open_files - 32, 0)} clients",
            f"ulimit -Hn {2 * CLIENTS}   # or LimitNOFILE= of the unit, --ulimit of the container",
        )


def address_space(machine: Machine) -> Iterator[Finding]:
    if machine.address_space is not None:
        yield warn(
            f"a process may have {size_text(machine.address_space)} (ulimit -v): mapped models count too",
            "ulimit -v unlimited",
        )


def shared_memory(machine: Machine) -> Iterator[Finding]:
    if machine.shm is None:
        yield warn("there is no /dev/shm: libraries of models may need it", "mount -t tmpfs shm /dev/shm")
    elif machine.shm.free < LEAST_SHM:
        yield warn(f"/dev/shm has {size_text(machine.shm.free)} left", "mount -o remount,size=1g /dev/shm")
    else:
        yield ok(f"/dev/shm has {size_text(machine.shm.free)}")


def disk(machine: Machine) -> Iterator[Finding]:
    for one in machine.disks:
        said = f"{size_text(one.free)} of {size_text(one.total)} left for {one.path}"
        mend = f"df -h {quote(str(one.path))}   # make room there, or choose another folder with --dir"
        if one.free < FULL_DISK:
            yield fail(f"{said}: servers refuse writes when it is full", mend)
        elif one.free < TIGHT_DISK:
            yield warn(said, mend)
        else:
            yield ok(said)


def jemalloc(machine: Machine) -> Iterator[Finding]:
    if machine.jemalloc is not None:
        yield ok(f"the models worker runs with {machine.jemalloc}")
    else:
        yield warn("no jemalloc: the models worker is slower without", "apt-get install libjemalloc2")


def size_text(size: int) -> str:
    """Bytes for people."""
    return f"{size / GB:.1f} GB" if size >= GB else f"{size / MB:.0f} MB"


def _text(path: str) -> str:
    """A file of the kernel's; empty where it is not there or not for us."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _fields(text: str) -> dict[str, str]:
    """`name : value` lines; of several of one name, the last."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def _bytes(told: str) -> int:
    return (_number(told.split()[0]) or 0) * 1024 if told else 0


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isdecimal() else None


def _quota(text: str) -> float | None:
    """`<microseconds> <of so many>`, or `max <of so many>`."""
    parts = text.split()
    return int(parts[0]) / int(parts[1]) if len(parts) == 2 and parts[0].isdecimal() else None


def _chosen(text: str) -> str:
    """The word in brackets."""
    match = re.search(r"\[(\w+)\]", text)
    return match[1] if match else ""


def _limit(kind: int) -> int | None:
    hard = resource.getrlimit(kind)[1]
    return None if hard == resource.RLIM_INFINITY else hard


GROUP = Group(
    "machine",
    read_machine,
    (
        Check("processor", processor),
        Check("memory", memory),
        Check("overcommit", overcommit),
        Check("huge pages", huge_pages),
        Check("backlog", backlog),
        Check("open files", open_files),
        Check("address space", address_space),
        Check("/dev/shm", shared_memory),
        Check("disk", disk),
        Check("jemalloc", jemalloc),
    ),
)
