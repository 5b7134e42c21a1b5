"""The servers themselves: that they answer, hold all slots, follow each other and can write."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote

import keymiss
from keymiss.cli.words import count
from keymiss.client.where import PASSWORD
from keymiss.doctor.check import Finding, fail, ok, warn
from keymiss.doctor.machine import disk_of, size_text
from keymiss.doctor.servers import number_of
from keymiss.hashtags import SLOTS

from .reading import LOCAL, Reading, Server

MOST_SKEW_S = 0.5
MEMORY_SHARE = 0.9
BEHIND_BYTES = 64 << 20


def answers(reading: Reading) -> Iterator[Finding]:
    """Every server answers, and takes clients."""
    for server in reading.servers:
        if not server.answers:
            yield fail(*_silent(reading, server))
    number = len(reading.servers)
    if number and len(reading.here) == number:
        yield ok(f"{count(number, 'server')} answer{'s' if number == 1 else ''}")


def _silent(reading: Reading, server: Server) -> tuple[str, str]:
    """What is wrong with a server that does not answer, and what to do."""
    if "loading" in server.error.lower():
        return f"{server.name} is loading its data", f"{server.cli} INFO persistence"
    if server.locked and server.node is not None and os.environ.get(PASSWORD):
        return f"{server.name} wants no password, as all that `keymiss up` starts", f"unset {PASSWORD}"
    if server.locked:
        return f"{server.name} wants a password: {server.error}", f"export {PASSWORD}=..."
    if server.node is None:
        return f"{server.name} does not answer: {server.error}", reading.again
    if server.pid is None:
        return f"{server.name} does not run", f"{reading.again}   # its log: {server.node.log}"
    return (
        f"{server.name} runs (pid {server.pid}) and does not answer: {server.error}",
        f"tail {quote(str(server.node.log))}; kill -9 {server.pid}; {reading.again}",
    )


def module(reading: Reading) -> Iterator[Finding]:
    """Every server has the module, and all the same, which is that of the package."""
    layout = reading.layout
    if layout is not None and layout.module is None:
        yield ok("left out (`keymiss up --plain`)")
        return
    restart = f"keymiss down {reading.dir}; {reading.again}" if layout is not None else "restart it"
    wanted = number_of(keymiss.__version__)
    for server in reading.here:
        version = server.modules.get("keymiss")
        if version is None:
            yield fail(f"{server.name} does not have it", _load(server) if layout is None else restart)
        elif version != wanted:
            yield warn(f"{server.name} has version {version}, the package is {wanted}", restart)
        elif _is_older(reading, server):
            yield warn(f"{server.name} was started before keymiss.so was built anew", restart)
        else:
            continue
        return  # the others are like it: one restart mends all
    if reading.here:
        yield ok(f"all of version {keymiss.__version__}")


def _load(server: Server) -> str:
    """What gives the module to a server that `up` did not start."""
    if server.settings.get("enable-module-command") == "no":  # the default of servers
        try:
            module = keymiss.module_path()
        except FileNotFoundError as error:
            return str(error)
        return f"loadmodule {module} in the configuration of {server.name}, then restart it"
    return f"{server.cli} MODULE LOAD $(keymiss module)"


def _is_older(reading: Reading, server: Server) -> bool:
    """Whether the server runs since before the module was built."""
    path = reading.layout.module if reading.layout is not None else None
    if path is None or server.node is None or not Path(path).exists():
        return False
    return time.time() - int(server.info.get("uptime_in_seconds", 0)) < Path(path).stat().st_mtime


def slots(reading: Reading) -> Iterator[Finding]:
    """Every slot is served, and all servers agree on it."""
    if not reading.here:
        return
    if not any(server.cluster for server in reading.here):
        yield ok("no cluster: one server has them all")
        return
    free = _uncovered(reading.here[0])
    if free:
        ranges = " ".join(f"{first}-{last}" for first, last in free)
        yield fail(f"nobody serves slots {ranges}", _cover(reading, free))
    for server in reading.here:
        state, served = server.cluster.get("cluster_state"), int(server.cluster.get("cluster_slots_ok", 0))
        if state != "ok" or served != SLOTS:
            failing = int(server.cluster.get("cluster_slots_fail", 0))
            said = f"{server.name} sees cluster_state {state}, {served} slots ok, {failing} failing"
            yield fail(said, reading.again)
            return
    if not free:
        yield ok(f"all {SLOTS} are served by {count(len(reading.masters), 'shard')}")


def _uncovered(server: Server) -> list[tuple[int, int]]:
    """The slots that nobody serves, first and last of each range, as this server sees it."""
    taken = sorted(piece for shard in server.shards for piece in shard.slots)
    free, next_slot = [], 0
    for first, last in [*taken, (SLOTS, SLOTS)]:
        if first > next_slot:
            free.append((next_slot, first - 1))
        next_slot = max(next_slot, last + 1)
    return free


def _cover(reading: Reading, free: Sequence[tuple[int, int]]) -> str:
    """Give each range back to the shard that was made with it: its hash tag is that of its first slot, and a
    shard that got them instead would have another tag."""
    if any(server.node is not None and not server.answers for server in reading.servers):
        return reading.again
    commands = []
    for first, last in free:
        server = _made_with(reading, first, last)
        if server is None:
            return f"yes yes | redis-cli --cluster fix {reading.here[0].host}:{reading.here[0].port}"
        commands.append(f"{server.cli} CLUSTER ADDSLOTSRANGE {first} {last}")
    return "; ".join(commands)


def _made_with(reading: Reading, first: int, last: int) -> Server | None:
    """The master that serves the rest of the slots that `keymiss up` gave to the shard of this range."""
    layout = reading.layout
    for shard in range(layout.shards if layout is not None else 0):
        assert layout is not None
        begin, end = layout.slots_of(shard)
        if begin <= first and last <= end:
            return next((one for one in reading.masters if one.serves(begin, end)), None)
    return None


def replication(reading: Reading) -> Iterator[Finding]:
    """Every replica follows, and every master has those that it was to have."""
    replicas = [server for server in reading.here if not server.is_master]
    for server in replicas:
        info = server.info
        if info.get("master_link_status") != "up":
            for_s = info.get("master_link_down_since_seconds", "?")
            master = f"{info.get('master_host')}:{info.get('master_port')}"
            said = f"{server.name} has lost its master {master} for {for_s} s"
            yield fail(said, f"{reading.again}; {server.cli} INFO replication")
    wanted = reading.layout.replicas if reading.layout is not None else 0
    for server in reading.masters:
        has = int(server.info.get("connected_slaves", 0))
        behind = max((_behind(server, n) for n in range(has)), default=0)
        if has < wanted:
            yield warn(f"{server.name} has {has} of {wanted} replicas", reading.again)
        if behind > BEHIND_BYTES:
            yield warn(
                f"a replica of {server.name} is {size_text(behind)} behind",
                f"{server.cli} INFO replication",
            )
    if replicas and all(server.info.get("master_link_status") == "up" for server in replicas):
        yield ok("all replicas follow")


def _behind(master: Server, number: int) -> int:
    """How many bytes the master is ahead of one of its replicas."""
    replica = master.info.get(f"slave{number}")
    if not isinstance(replica, dict):
        return 0
    return int(master.info.get("master_repl_offset", 0)) - int(replica.get("offset", 0))


def persistence(reading: Reading) -> Iterator[Finding]:
    """What is written is kept: saves work, and something is saved at all."""
    said = list(_unsaved(reading))
    yield from said
    if reading.here and not said:
        yield ok("saves and append-only files are written")


def _unsaved(reading: Reading) -> Iterator[Finding]:
    for server in reading.here:
        info, ask = server.info, server.cli
        for status, redo in (
            ("aof_last_write_status", "CONFIG SET appendonly yes"),
            ("aof_last_bgrewrite_status", "BGREWRITEAOF"),
            ("rdb_last_bgsave_status", "BGSAVE"),
        ):
            if info.get(status) == "err":
                yield fail(f"{server.name}: {status} is err", f"df -h {_directory(server)}; {ask} {redo}")
        if not info.get("aof_enabled") and not server.settings.get("save") and server.is_master:
            yield warn(
                f"{server.name} keeps nothing: no append-only file, no saves",
                f"{ask} CONFIG SET appendonly yes",
            )
        disk = disk_of(Path(_directory(server))) if server.host == LOCAL else None
        needed = int(info.get("aof_current_size", 0))
        if disk is not None and disk.free < needed:
            said = f"{server.name}: to rewrite its {size_text(needed)}, {size_text(disk.free)} are too little"
            yield warn(said, f"df -h {quote(str(disk.path))}")


def _directory(server: Server) -> str:
    return server.settings.get("dir", ".")


def memory(reading: Reading) -> Iterator[Finding]:
    """Servers have room below maxmemory."""
    full = False
    for server in reading.here:
        most, used = int(server.info.get("maxmemory", 0)), int(server.info.get("used_memory", 0))
        if most and used > MEMORY_SHARE * most:
            full = True
            yield warn(
                f"{server.name} uses {size_text(used)} of its maxmemory {size_text(most)}",
                f"{server.cli} CONFIG SET maxmemory {2 * most}",
            )
    if reading.here and not full:
        total = sum(int(server.info.get("used_memory", 0)) for server in reading.here)
        yield ok(f"{size_text(total)} in {count(len(reading.here), 'server')}")


def clocks(reading: Reading) -> Iterator[Finding]:
    """The servers' clocks agree with this machine's: lifetimes of answers go by them."""
    late = [server for server in reading.here if abs(server.skew_s) > MOST_SKEW_S]
    for server in late:
        yield warn(f"the clock of {server.name} is {server.skew_s:+.1f} s from this one", "chronyc makestep")
    if reading.here and not late:
        yield ok("agree")
