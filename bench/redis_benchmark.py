"""The original article's own measurement: redis-benchmark asks a shard for keys that miss, each a question
that a model has to answer, and AI.INFO says what the model took for them.

`__rand_int__` ends the question, so that no two keys are the same. Clients of redis-benchmark that have no
more to send spin until the last one is answered: that is in the figures, as it was in the original's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import redis

from keymiss.client import text_of
from keymiss.keys import model_key

from . import workload
from .deployment import Deployment, deployed
from .effort import Effort
from .load import CLIENTS, Key, Load, requests_for, run
from .progress import Progress
from .report import Promise, Report, conditions_of
from .rounds import interleave
from .servers import find_server

CLIENTS_ASKING, QUICK_ASKING = (1, 8, CLIENTS), (1, 8)
QUESTIONS = 80  # to choose one from
FEWEST = 4  # requests of each client

MISS, HIT = "GET that misses", "GET of an answer that is there"
COLUMNS = [
    "request",
    "clients",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "model calls",
    "ms a call",
    "samples",
    "ms a sample",
]


@dataclass(frozen=True)
class Figures:
    """What redis-benchmark saw, and what AI.INFO counted meanwhile."""

    load: Load
    calls: int
    samples: int
    duration_ms: float


def measure(
    server: str | None,
    effort: Effort,
    progress: Progress,
    files: Sequence[Path] = (),
    model: Sequence[str] = (),
) -> Report:
    """`files` hold questions in SQuAD's format; `model` are options of `keymiss model store`."""
    items = workload.items(files, QUESTIONS)
    asking = QUICK_ASKING if effort.quick else CLIENTS_ASKING
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keymiss-bench-")))
        progress.say("deploying")
        shard = stack.enter_context(deployed(find_server(server), items, folder, model))
        item = sorted(items, key=lambda item: len(item.paragraph))[len(items) // 2]
        key = shard.key(item)
        shard.client.set(f"{key} (there)", text_of(shard.client.get(key)))
        commands = {MISS: ("GET", f"{key} __rand_int__"), HIT: ("GET", f"{key} (there)")}
        variants = {}
        for clients in asking:
            for name, command in commands.items():
                progress.say(f"warming up: {Key(name, clients)}")
                requests = requests_for(shard.port, command, clients, effort.seconds)
                requests = max(FEWEST, requests // clients) * clients  # as many of each client
                variants[Key(name, clients)] = partial(_figures, shard, command, clients, requests)
        progress.expect(len(variants) * effort.rounds)
        measured = interleave(variants, effort.rounds, progress)
        conditions = conditions_of(shard.client, asking[-1], effort.rounds)
    conditions |= {"clients": "as shown", "answers": "never cached, but for the row that says so"}
    conditions["command"] = (
        f"redis-benchmark -c <clients> -n <requests> -r 1000000000 GET '{key} __rand_int__'"
    )
    return _report(measured, conditions)


def _figures(shard: Deployment, command: Sequence[str], clients: int, requests: int) -> Figures:
    """One run. RuntimeError where an answer was an error."""
    model = model_key(shard.tag)
    shard.client.execute_command("AI.INFO", model, "RESETSTAT")
    load = run(shard.port, command, clients, requests)
    info = _info(shard.client, model)
    return Figures(load, info["calls"], info["samples"], info["duration"] / 1e3)


def _info(client: redis.Redis, key: str) -> dict[str, int]:
    """The numbers that AI.INFO gives; its duration is in microseconds."""
    reply = client.execute_command("AI.INFO", key)
    fields = dict(zip(reply[::2], reply[1::2], strict=True))
    return {name.decode(): value for name, value in fields.items() if isinstance(value, int)}


def _report(measured: Mapping[Key, Sequence[Figures]], conditions: dict[str, str]) -> Report:
    report = Report("redis-benchmark", "The original article's benchmark", COLUMNS, conditions)
    for key, runs in measured.items():
        rate, p50_ms, p99_ms = (
            median(getattr(one.load, name) for one in runs) for name in ("rate", "p50_ms", "p99_ms")
        )
        calls, samples = (sum(getattr(one, name) for one in runs) for name in ("calls", "samples"))
        duration_ms = sum(one.duration_ms for one in runs)
        arithmetic = (calls, _ratio(duration_ms, calls), samples, _ratio(duration_ms, samples))
        report.add(*key, rate, p50_ms, p99_ms, *arithmetic)
    most = max(key.clients for key in measured)
    one, many = (median(run.load.rate for run in measured[Key(MISS, n)]) for n in (1, most))
    report.promises.append(
        Promise(f"{most} clients get more answers than one, times", many / one, many > one)
    )
    return report


def _ratio(value: float, of: int) -> float | None:
    return value / of if of else None
