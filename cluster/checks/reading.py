"""What the servers of a cluster say of themselves, asked once and all at the same time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

import redis

from keymiss.client import Address, Registration, Shard, connect, read_registrations, read_shards, text_of
from keymiss.doctor.check import Place

from .. import processes
from ..layout import Layout, Node, read_layout

TIMEOUT_S = 4.0  # of a reply
AT_ONCE = 16  # servers that are asked at the same time
LOCAL = "127.0.0.1"


@dataclass(frozen=True)
class Server:
    """One server as it answers; `error` says why it does not. `node` and `pid` are those of `keymiss up`."""

    host: str
    port: int
    node: Node | None = None
    pid: int | None = None
    error: str = ""
    locked: bool = False  # by a password: the error is that it does not let us in
    info: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    modules: dict[str, int] = field(default_factory=dict)  # name -> version
    cluster: dict[str, str] = field(default_factory=dict)  # CLUSTER INFO
    shards: tuple[Shard, ...] = ()  # those that serve slots, as this server sees them
    skew_s: float = 0.0  # of its clock from ours, beyond what the question itself may have taken
    registrations: tuple[Registration, ...] | None = None  # None where they were not told
    models: tuple[str, ...] = ()  # keys

    @property
    def name(self) -> str:
        """As people call it."""
        if self.node is not None:
            return f"{self.node.name} (port {self.port})"
        return f"port {self.port}" if self.host == LOCAL else f"{self.host}:{self.port}"

    def serves(self, first: int, last: int) -> bool:
        """Whether it serves some of these slots."""
        mine = [shard for shard in self.shards if (shard.host, shard.port) == (self.host, self.port)]
        return any(begin <= last and first <= end for shard in mine for begin, end in shard.slots)

    @property
    def cli(self) -> str:
        """How to call redis-cli for it."""
        return (
            f"redis-cli -p {self.port}" if self.host == LOCAL else f"redis-cli -h {self.host} -p {self.port}"
        )

    @property
    def answers(self) -> bool:
        return not self.error

    @property
    def is_master(self) -> bool:
        return self.info.get("role") == "master"

    @property
    def has_module(self) -> bool:
        return "keymiss" in self.modules

    @property
    def members(self) -> set[tuple[str, int]]:
        """The addresses of all servers that it knows to be in slots' use."""
        masters = {(shard.host, shard.port) for shard in self.shards}
        return masters.union(*(shard.replicas for shard in self.shards))

    def number(self, setting: str) -> int:
        """A setting that is a number; 0 where this server has none of that name."""
        told = self.settings.get(setting, "")
        return int(told) if told.lstrip("-").isdecimal() else 0


@dataclass(frozen=True)
class Reading:
    """The cluster in `place`, or why it cannot be read (`damaged`). Without `layout` it was not made here."""

    place: Place
    layout: Layout | None
    damaged: str
    servers: tuple[Server, ...]

    @property
    def here(self) -> list[Server]:
        """Those that answer."""
        return [server for server in self.servers if server.answers]

    @property
    def masters(self) -> list[Server]:
        """Those that answer, have the module and serve slots."""
        serving = {(shard.host, shard.port) for server in self.here for shard in server.shards}
        return [
            server
            for server in self.here
            if server.has_module and server.is_master and (server.host, server.port) in serving
        ]

    @property
    def again(self) -> str:
        """The command that starts what is missing."""
        return f"keymiss up {self.dir}" if self.layout else "start it as it was started before"

    @property
    def dir(self) -> str:
        """The option that names its folder."""
        return f"--dir {quote(str(self.place.folder))}"


def read_cluster(place: Place) -> Reading:
    """Asks all servers of the cluster in `place`; those that do not answer are told of as such."""
    try:
        layout = read_layout(place.folder) if place.port is None else None
    except ValueError as error:
        return Reading(place, None, str(error), ())
    nodes = layout.nodes if layout is not None else []
    known: dict[tuple[str, int], Node | None] = {(LOCAL, node.port): node for node in nodes}
    if place.port is not None:
        known[Address.host, place.port] = None
    servers = _ask_all(known)
    others = {address for server in servers for address in server.members} - set(known)
    if others:
        servers += _ask_all(dict.fromkeys(sorted(others)))
    return Reading(place, layout, "", tuple(_once(servers)))


def _once(servers: Sequence[Server]) -> Iterable[Server]:
    """Each server by the address that the cluster knows: the one that was asked first may have been asked by
    another."""
    return {server.info.get("run_id", server.name): server for server in servers}.values()


def _ask_all(known: Mapping[tuple[str, int], Node | None]) -> list[Server]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = [pool.submit(_ask, host, port, node) for (host, port), node in known.items()]
        return [one.result() for one in asked]


def _ask(host: str, port: int, node: Node | None) -> Server:
    told: dict[str, Any] = {
        "host": host,
        "port": port,
        "node": node,
        "pid": processes.running_pid(node.pid_file) if node is not None else None,
    }
    with closing(connect(host, port, TIMEOUT_S)) as client:
        try:
            told |= _own(client)
            if "keymiss" in told["modules"] and told["info"].get("role") == "master":
                told["models"] = tuple(text_of(key) for key, _ in client.execute_command("AI._MODELSCAN"))
        except (redis.RedisError, OSError) as error:
            locked = isinstance(error, redis.AuthenticationError)
            return Server(**told, error=str(error) or type(error).__name__, locked=locked)
    if "keymiss" in told["modules"]:
        told["registrations"] = _registrations(host, port)
    return Server(**told)


def _own(client: redis.Redis) -> dict[str, Any]:
    """What the server's main thread answers by itself, no worker needed."""
    asked = time.time()
    seconds, microseconds = client.time()
    answered = time.time()
    info = client.info("everything")
    settings = {text_of(name): text_of(value) for name, value in client.config_get("*").items()}
    told: dict[str, Any] = {
        "skew_s": _outside(seconds + microseconds / 1e6, asked, answered),
        "info": info,
        "settings": settings,
        "modules": dict(map(_module, client.execute_command("MODULE", "LIST"))),
        "shards": tuple(read_shards(client)),
    }
    if info.get("cluster_enabled"):
        lines = text_of(client.execute_command("CLUSTER", "INFO")).splitlines()
        told["cluster"] = dict(line.split(":", 1) for line in lines if ":" in line)
    return told


def _outside(told: float, earliest: float, latest: float) -> float:
    """How far a time is from an interval, in seconds: negative where it is before it."""
    return min(told - earliest, 0.0) + max(told - latest, 0.0)


def _module(row: Sequence[Any]) -> tuple[str, int]:
    told = {text_of(name): value for name, value in zip(row[::2], row[1::2], strict=False)}
    return text_of(told["name"]), int(told["ver"])


def _registrations(host: str, port: int) -> tuple[Registration, ...] | None:
    """They are the functions worker's to tell: asked by a connection of their own, which a worker that does
    not answer costs."""
    with closing(connect(host, port, TIMEOUT_S)) as client:
        try:
            return tuple(read_registrations(client))
        except redis.RedisError:
            return None
