"""What functions cost: commands and misses that they answer, events that fire them, runs over many keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median

import redis

from keymiss.client import read_registrations

from .effort import Effort
from .load import CLIENTS, Key, Load, loads_of, run
from .progress import Progress
from .report import Promise, Report, conditions_of
from .rounds import interleave, median_ratio
from .servers import find_server, running, running_cluster

KEYS = 100_000
QUICK_KEYS = 2_000
RECORD_ROUNDS = 3  # a run over all keys is a large sample by itself
SHARDS = 3
MOST_EVENTS = 20_000  # of a burst: fewer than may wait for a worker
EVENTS_S = 60.0
PIPELINED = 1000

TRIGGER_AT_LEAST = 0.15  # of SET, at 50 clients
MISS_AT_LEAST = 0.25
RECORDS_AT_LEAST = 25_000  # a second, on one shard

SCRIPTS = (
    "GB('CommandReader').map(lambda argv: argv[1]).register(trigger='sync', mode='sync')\n",
    "GB('CommandReader').map(lambda argv: argv[1]).register(trigger='async_local', mode='async_local')\n",
    "async def answer(record):\n    override_reply('x')\n"
    "GB().foreach(answer).register('bench:miss:*', commands=['get'], eventTypes=['keymiss'], "
    "mode='async_local')\n",
)
EVENT_MODES = ("async", "async_local", "sync")
ON_EVENT = (
    "GB(desc='{0}').foreach(lambda record: record['value'])"
    ".register('bench:{0}:*', eventTypes=['set'], mode='{0}')\n"
)

SET = "SET, plain server"
# Command, and what RedisGears 1.2.13 reached in Redis 7.0 with one client and with 50.
COMMANDS: Mapping[str, tuple[tuple[str, ...], tuple[float, float] | None]] = {
    "RG.TRIGGER, sync": (("RG.TRIGGER", "sync", "x"), (16_500.0, 36_500.0)),
    "RG.TRIGGER, async_local": (("RG.TRIGGER", "async_local", "x"), None),
    "GET that misses, coroutine": (("GET", "bench:miss:__rand_int__"), (3_600.0, 8_000.0)),
}
RUNS = {
    "map": "GB().map(lambda r: r['value']).run('bench:record:*')",
    "filter": "GB().filter(lambda r: r['value'].endswith('7')).run('bench:record:*')",
    "count": "GB().count().run('bench:record:*')",
}
COLUMNS = ["what", "clients", "per second", "of SET", "RedisGears", "p50 ms", "p99 ms"]


def measure(server: str | None, effort: Effort, progress: Progress) -> Report:
    """Functions behind commands, misses and events beside a plain server's SET; and runs over keys."""
    binary = find_server(server)
    keys = QUICK_KEYS if effort.quick else KEYS
    with ExitStack() as stack:
        progress.say("starting servers")
        plain = stack.enter_context(running(binary, module=False))
        shard = stack.enter_context(running(binary, module=True))
        conditions = conditions_of(plain, CLIENTS, effort.rounds)
        for script in (*SCRIPTS, *(ON_EVENT.format(mode) for mode in EVENT_MODES)):
            shard.execute_command("RG.PYEXECUTE", script)
        variants: dict[str, tuple[redis.Redis, Sequence[str]]] = {SET: (plain, ("SET", "bench:key", "x"))}
        variants |= {name: (shard, command) for name, (command, _) in COMMANDS.items()}
        record_rounds = min(effort.rounds, RECORD_ROUNDS)
        a_round = 2 * len(variants) + len(EVENT_MODES)
        progress.expect(a_round * effort.rounds + 2 * len(RUNS) * record_rounds)
        loads = loads_of(variants, effort.rounds, effort.seconds, progress)
        events = interleave(_bursts(shard, effort.seconds, progress), effort.rounds, progress)
        shards = stack.enter_context(running_cluster(binary, SHARDS))
        records = _records(shard, shards, keys, record_rounds, progress)
    conditions |= {"clients": "as shown", "keys of a run": f"{keys:,}"}
    conditions["RedisGears"] = "1.2.13 in Redis 7.0, on 2 cores at another time: for scale only"
    report = Report("gears", "What functions cost", COLUMNS, conditions)
    _add_rows(report, loads, events, records)
    _add_promises(report, loads, records)
    return report


# Events


def _bursts(shard: redis.Redis, seconds: float, progress: Progress) -> dict[str, Callable[[], float]]:
    """For each mode what fires its function for about `seconds` and says how many it ran a second."""
    bursts: dict[str, Callable[[], float]] = {}
    for mode in EVENT_MODES:
        name = f"{mode} function, fired by SET"
        progress.say(f"warming up: {name}")
        rate = _burst(shard, mode, CLIENTS * 20)
        bursts[name] = partial(_burst, shard, mode, min(max(CLIENTS, int(rate * seconds)), MOST_EVENTS))
    return bursts


def _burst(shard: redis.Redis, mode: str, events: int) -> float:
    """Functions a second, from the first of so many SETs to the end of the last function."""
    done = _succeeded(shard, mode) + events
    began = time.perf_counter()
    port = int(shard.connection_pool.connection_kwargs["port"])
    run(port, ("SET", f"bench:{mode}:__rand_int__", "x"), CLIENTS, events)
    while _succeeded(shard, mode) < done:
        if time.perf_counter() > began + EVENTS_S:
            raise RuntimeError(f"not all of {events} functions in mode {mode} ran within {EVENTS_S:g} s")
        time.sleep(0.005)
    return events / (time.perf_counter() - began)


def _succeeded(shard: redis.Redis, mode: str) -> int:
    return next(one.succeeded for one in read_registrations(shard) if one.description == mode)


# Runs over keys


def _records(
    shard: redis.Redis, shards: Sequence[redis.Redis], keys: int, rounds: int, progress: Progress
) -> dict[str, list[float]]:
    """Records a second of each run, on one shard and on all."""
    runs: dict[str, Callable[[], float]] = {}
    for where, masters in (("1 shard", [shard]), (f"{SHARDS} shards", shards)):
        progress.say(f"filling {where}")
        _fill(masters, keys)
        for name, script in RUNS.items():
            runs[f"{name} over {keys:,} keys, {where}"] = partial(_run, masters[0], script, keys)
    return interleave(runs, rounds, progress)


def _fill(masters: Sequence[redis.Redis], keys: int) -> None:
    """So many keys, as many on each shard."""
    for n, master in enumerate(masters):
        (tag,), _ = master.execute_command(
            "RG.PYEXECUTE", "GB('ShardsIDReader').map(lambda _: hashtag()).run(mode='async_local')"
        )
        master.flushall()
        share = range(n, keys, len(masters))
        for start in range(0, len(share), PIPELINED):
            master.mset({f"bench:record:{{{tag.decode()}}}:{i}": f"{i}" for i in share[start:][:PIPELINED]})


def _run(shard: redis.Redis, script: str, keys: int) -> float:
    """Records a second of one run. RuntimeError where it had an error."""
    began = time.perf_counter()
    _, errors = shard.execute_command("RG.PYEXECUTE", script)
    if errors:
        raise RuntimeError(f"{script}: {errors[0]!r}")
    return keys / (time.perf_counter() - began)


# The report


def _add_rows(
    report: Report,
    loads: Mapping[Key, Sequence[Load]],
    events: Mapping[str, Sequence[float]],
    records: Mapping[str, Sequence[float]],
) -> None:
    for key, values in loads.items():
        _, original = COMMANDS.get(key.name, ((), None))
        rate, p50_ms, p99_ms = (
            median(getattr(load, figure) for load in values) for figure in ("rate", "p50_ms", "p99_ms")
        )
        scale = original[0 if key.clients == 1 else 1] if original else None
        report.add(*key, rate, _of_set(loads, key), scale, p50_ms, p99_ms)
    plain = [load.rate for load in loads[Key(SET, CLIENTS)]]
    for name, rates in events.items():
        report.add(name, CLIENTS, median(rates), median_ratio(rates, plain), None, None, None)
    for name, rates in records.items():
        report.add(name, 1, median(rates), None, None, None, None)


def _add_promises(
    report: Report, loads: Mapping[Key, Sequence[Load]], records: Mapping[str, Sequence[float]]
) -> None:
    for name, least in (
        ("RG.TRIGGER, sync", TRIGGER_AT_LEAST),
        ("GET that misses, coroutine", MISS_AT_LEAST),
    ):
        reached = _of_set(loads, Key(name, CLIENTS))
        text = f"{name}, at {CLIENTS} clients reaches {least} of a plain server's SET"
        report.promises.append(Promise(text, reached, reached >= least))
    slowest = min(median(rates) for name, rates in records.items() if name.endswith("1 shard"))
    text = f"a run over the keys of one shard takes {RECORDS_AT_LEAST:,} records a second"
    report.promises.append(Promise(text, slowest, slowest >= RECORDS_AT_LEAST))


def _of_set(loads: Mapping[Key, Sequence[Load]], key: Key) -> float:
    plain = loads[Key(SET, key.clients)]
    return median_ratio([load.rate for load in loads[key]], [load.rate for load in plain])
