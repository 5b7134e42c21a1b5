"""Settings that contradict each other, or differ where they should not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from shlex import quote

from keymiss.doctor.check import Finding, ok, warn
from keymiss.doctor.machine import size_text

from .reading import LOCAL, Reading, Server

# Of each server its own: the rest of keymiss.* is to be the same on all.
OWN = frozenset(("keymiss.shard-name", "keymiss.metrics-port", "keymiss.models-metrics-port"))
PROTECTED = frozenset(("keymiss.python", "keymiss.models-dir"))  # servers refuse CONFIG SET of them


@dataclass(frozen=True)
class Contradiction:
    """Two settings that go badly together: why, and what to set instead."""

    holds: Callable[[Server], bool]
    why: str
    setting: str  # to change
    value: Callable[[Server], str]  # what to


def _ms(name: str) -> Callable[[Server], int]:
    return lambda server: server.number(name)


job, sync, loop = map(_ms, ("keymiss.job-timeout-ms", "keymiss.sync-timeout-ms", "keymiss.loop-timeout-ms"))
busy, hang = map(_ms, ("keymiss.busy-timeout-ms", "keymiss.hang-timeout-ms"))
frame, channel = map(_ms, ("keymiss.max-frame-bytes", "keymiss.max-channel-bytes"))
result = _ms("keymiss.max-result-bytes")
node_timeout = _ms("cluster-node-timeout")
functions_memory, processes = map(_ms, ("keymiss.functions-memory", "keymiss.functions-processes"))


def _total(server: Server) -> int:
    """Memory of its host, in bytes."""
    return int(server.info.get("total_system_memory", 0))


CONTRADICTIONS = (
    Contradiction(
        lambda server: 0 < node_timeout(server) < sync(server) and bool(server.cluster),
        "a sync function may hold the server for longer than cluster-node-timeout: others take it for dead",
        "keymiss.sync-timeout-ms",
        lambda server: str(max(1, node_timeout(server) // 2)),
    ),
    Contradiction(
        lambda server: busy(server) >= job(server) > 0,
        "keymiss.busy-timeout-ms is no shorter than keymiss.job-timeout-ms: nobody ever gets -BUSY",
        "keymiss.busy-timeout-ms",
        lambda server: str(job(server) // 2),
    ),
    Contradiction(
        lambda server: 0 < hang(server) <= loop(server),
        "keymiss.hang-timeout-ms is no longer than keymiss.loop-timeout-ms: a coroutine that computes is "
        "killed with its worker instead of interrupted",
        "keymiss.hang-timeout-ms",
        lambda server: str(3 * loop(server)),
    ),
    Contradiction(
        lambda server: frame(server) > channel(server) > 0,
        "keymiss.max-frame-bytes is above keymiss.max-channel-bytes: the largest frames are always refused",
        "keymiss.max-channel-bytes",
        lambda server: str(frame(server)),
    ),
    Contradiction(
        lambda server: result(server) >= frame(server) > 0,
        "keymiss.max-result-bytes is not below keymiss.max-frame-bytes: such a result ends the channel",
        "keymiss.max-result-bytes",
        lambda server: str(frame(server) // 2),
    ),
    Contradiction(
        lambda server: (
            bool(server.number("maxmemory"))
            and server.settings.get("maxmemory-policy", "").startswith("allkeys")
        ),
        "maxmemory-policy evicts any key, models and tokens too; cached answers alone have a lifetime",
        "maxmemory-policy",
        lambda server: "volatile-lru",
    ),
    Contradiction(
        lambda server: (
            server.settings.get("appendonly") == "yes" and server.settings.get("aof-use-rdb-preamble") == "no"
        ),
        "aof-use-rdb-preamble no: registrations are lost when the append-only file is rewritten",
        "aof-use-rdb-preamble",
        lambda server: "yes",
    ),
    Contradiction(
        lambda server: server.number("maxmemory") > _total(server) > 0,
        "maxmemory is more than this machine has: the system kills the server before it evicts",
        "maxmemory",
        lambda server: str(_total(server) // 2),
    ),
    Contradiction(
        lambda server: functions_memory(server) * processes(server) > _total(server) > 0,
        "functions may take more memory than this machine has (keymiss.functions-memory for each process)",
        "keymiss.functions-memory",
        lambda server: str(_total(server) // 2 // processes(server)),
    ),
    Contradiction(
        lambda server: server.number("keymiss.models-memory") > _total(server) > 0,
        "keymiss.models-memory is more than this machine has: no model is put out in time",
        "keymiss.models-memory",
        lambda server: str(_total(server) // 2),
    ),
)


def contradictions(reading: Reading) -> Iterator[Finding]:
    """One finding for each contradiction, with the servers that have it."""
    found = False
    for one in CONTRADICTIONS:
        servers = [server for server in reading.here if server.has_module and one.holds(server)]
        if servers:
            found = True
            yield warn(f"{one.why} ({_names(servers)})", _set(servers, one.setting, one.value(servers[0])))
    yield from _too_much(reading)
    if not found and any(server.has_module for server in reading.here):
        yield ok("none contradicts another")


def _too_much(reading: Reading) -> Iterator[Finding]:
    """What the servers of one host may take together."""
    hosts: defaultdict[str, list[Server]] = defaultdict(list)
    for server in reading.here:
        hosts[server.host].append(server)
    for host, servers in hosts.items():
        most, total = sum(server.number("maxmemory") for server in servers), _total(servers[0])
        if len(servers) > 1 and most > total > 0:
            said = f"the servers of {host} may take {size_text(most)} together, and it has {size_text(total)}"
            yield warn(said, _set(servers, "maxmemory", str(total // 2 // len(servers))))


def differences(reading: Reading) -> Iterator[Finding]:
    """All servers have the same keymiss.* settings: which shard a key is on must not matter."""
    having = [server for server in reading.here if server.has_module]
    names = {name for server in having for name in server.settings if name.startswith("keymiss.")} - OWN
    same = True
    for name in sorted(names):
        values = Counter(server.settings.get(name, "") for server in having)
        usual = values.most_common(1)[0][0]
        others = [server for server in having if server.settings.get(name, "") != usual]
        if others:
            same = False
            said = f"{name} is {usual!r}, but not on {_names(others)}"
            if name in PROTECTED:
                yield warn(said, _configure(reading, others, name, usual))
            else:
                yield warn(said, _set(others, name, usual))
    if len(having) > 1 and same:
        yield ok(f"{len(names)} settings keymiss.* are the same on {len(having)} servers")


def _names(servers: Sequence[Server]) -> str:
    return ", ".join(server.name for server in servers)


def _configure(reading: Reading, servers: Sequence[Server], name: str, value: str) -> str:
    """How these servers start with it: `keymiss up` writes their configuration anew."""
    if reading.layout is None:
        return f"{name} {quote(value)} in the configuration of {_names(servers)}, then restart"
    return "; ".join([*(f"{server.cli} SHUTDOWN" for server in servers), reading.again])


def _set(servers: Sequence[Server], name: str, value: str) -> str:
    """The command that sets it on these servers."""
    if len(servers) > 1 and all(server.host == LOCAL for server in servers):
        ports = " ".join(str(server.port) for server in servers)
        return f"for port in {ports}; do redis-cli -p $port CONFIG SET {name} {quote(value)}; done"
    return "; ".join(f"{server.cli} CONFIG SET {name} {quote(value)}" for server in servers)
