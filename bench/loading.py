"""How long it takes until a stored model answers: new, already there, and after its worker was lost."""

from __future__ import annotations

import hashlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import redis

from .effort import Effort
from .host import Host, execute, host, set_inputs, store
from .progress import Progress
from .report import Promise, Report, conditions_of
from .servers import find_server
from .subjects import Subject, bert_base, minilm, small

TOKENS = 8  # the run is not what is measured
AT_MOST_MS = 50.0
RESTART_DEADLINE_S = 60.0
COLUMNS = ["model", "stored", "stored ms", "first answer ms", "longest PING meanwhile ms"]
NEW, AGAIN, DIGEST = "for the first time", "again under another key, with its bytes", "another key, by digest"
OTHER_SHARD, RESTARTED = "on another shard, by digest", "not again: the models worker was killed"
STEPS = (NEW, AGAIN, DIGEST, OTHER_SHARD, RESTARTED)
ALREADY_THERE = (DIGEST, OTHER_SHARD)


def measure(server: str | None, effort: Effort, progress: Progress) -> Report:
    """Each round on a new host of two shards. FileNotFoundError where no server is installed; RuntimeError
    where one does not start."""
    binary = find_server(server)
    with tempfile.TemporaryDirectory(prefix="keymiss-bench-") as folder:
        models = _models(Path(folder), effort.quick)
        first = small(Path(folder, "first.pt"), TOKENS, seed=1)
        report = Report("load", "Until a stored model answers", COLUMNS, {})
        progress.expect(len(models) * len(STEPS) * effort.rounds)
        for subject in models:
            samples: dict[str, list[Sequence[float]]] = {step: [] for step in STEPS}
            for _ in range(effort.rounds):
                with host(binary, 2, shared_worker=True) as on:
                    report.conditions |= conditions_of(on.shards[0], clients=1, rounds=effort.rounds)
                    for step, sample in _round(on, subject, first, progress):
                        samples[step].append(sample)
            for step in STEPS:
                report.add(subject.name, step, *map(median, zip(*samples[step], strict=True)))
            report.conditions[subject.name] = subject.what
    slowest = max(float(row["stored ms"] or 0) for row in report.rows if row["stored"] in ALREADY_THERE)
    text = f"a model that is there already is stored in at most {AT_MOST_MS:.0f} ms"
    report.promises.append(Promise(text, slowest, slowest <= AT_MOST_MS))
    return report


def _models(folder: Path, quick: bool) -> list[Subject]:
    if quick:
        return [small(folder / "small.pt", TOKENS)]
    return [
        minilm(TOKENS),
        minilm(TOKENS, "onnx", "ONNX"),
        minilm(TOKENS, "openvino", "OPENVINO"),
        bert_base(folder / "bert.pt", TOKENS),
    ]


def _round(
    on: Host, subject: Subject, first: Subject, progress: Progress
) -> Iterator[tuple[str, tuple[float, float, float]]]:
    one, two = on.shards
    blob = subject.file.read_bytes()
    digest = hashlib.sha256(blob).hexdigest()
    for shard in on.shards:
        set_inputs(shard, subject)
    store(one, "first", first, "BLOB", first.file.read_bytes())  # torch is imported
    execute(one, "first", first)
    told: dict[str, tuple[redis.Redis, Sequence[bytes | str]]] = {
        NEW: (one, ("BLOB", blob)),
        AGAIN: (one, ("BLOB", blob)),
        DIGEST: (one, ("DIGEST", digest)),
        OTHER_SHARD: (two, ("DIGEST", digest)),
    }
    for step, (shard, bytes_or_digest) in told.items():
        progress.step(f"{subject.name} {step}")
        with _pinged(shard) as longest_ms:
            stored_ms = _ms(lambda: store(shard, step, subject, *bytes_or_digest))  # noqa: B023
            answered_ms = _ms(lambda: execute(shard, step, subject))  # noqa: B023
        yield step, (stored_ms, stored_ms + answered_ms, longest_ms())
    progress.step(f"{subject.name} {RESTARTED}")
    yield RESTARTED, _after_a_restart(one, NEW, subject, first)


def _after_a_restart(
    shard: redis.Redis, key: str, subject: Subject, first: Subject
) -> tuple[float, float, float]:
    """The worker of this shard alone: a shared one would be started again by whoever keeps it."""
    shard.config_set("keymiss.models", "auto")
    _until(lambda: execute(shard, "first", first))
    os.kill(_own_worker(shard), signal.SIGKILL)
    _until(lambda: execute(shard, "first", first))  # it runs again, with torch
    with _pinged(shard) as longest_ms:
        answered_ms = _ms(lambda: execute(shard, key, subject))
    return 0.0, answered_ms, longest_ms()


def _own_worker(shard: redis.Redis) -> int:
    return int(shard.info("keymiss")["keymiss_models_worker"]["pid"])


def _until(run: Callable[[], None]) -> None:
    """Run until that goes well: a worker that was killed fails what it had."""
    end_s = time.monotonic() + RESTART_DEADLINE_S
    while True:
        try:
            return run()
        except redis.ResponseError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.05)


def _ms(run: Callable[[], None]) -> float:
    began_s = time.perf_counter()
    run()
    return (time.perf_counter() - began_s) * 1000


@contextmanager
def _pinged(shard: redis.Redis) -> Iterator[Callable[[], float]]:
    """Another client asks all the time; gives the longest that it waited, in milliseconds."""
    options = shard.connection_pool.connection_kwargs
    over = threading.Event()
    waited_ms = [0.0]

    def ping() -> None:
        with redis.Redis(port=options["port"], socket_timeout=options["socket_timeout"]) as client:
            while not over.is_set():
                waited_ms.append(_ms(client.ping))
                over.wait(0.001)

    pinging = threading.Thread(target=ping)
    pinging.start()
    try:
        yield lambda: max(waited_ms)  # inside the `with` or behind it
    finally:
        over.set()
        pinging.join()
