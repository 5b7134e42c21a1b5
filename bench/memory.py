"""What n shards of a host that hold the same model take of its memory."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from .effort import Effort
from .host import execute, host, set_inputs, store
from .progress import Progress
from .report import Promise, Report, conditions_of
from .servers import find_server
from .subjects import Subject, minilm, small

SHARDS, QUICK_SHARDS = 8, 2
TOKENS = 128
REST_S, QUICK_REST_S = 5.0, 0.5  # until memory counts as settled
FIRST_WORDS = 100  # what is freed of so small a model later is not missed
QUICK_WORDS = 40_000  # 40 MB: beside them, what allocators keep is little
AT_MOST = 1.15
WORKERS = {"one models worker for the host": True, "a models worker for each shard": False}
COLUMNS = ["workers", "shards with the model", "model memory MB", "of 1 shard", "in the servers MB"]


def measure(server: str | None, effort: Effort, progress: Progress) -> Report:
    """On a host of so many shards, the model is stored and run on one, then on all. FileNotFoundError where
    no server is installed; RuntimeError where one does not start."""
    binary, shards = find_server(server), QUICK_SHARDS if effort.quick else SHARDS
    with tempfile.TemporaryDirectory(prefix="keymiss-bench-") as folder:
        first = small(Path(folder, "first.pt"), TOKENS, seed=1, words=FIRST_WORDS)
        second = Path(folder, "second.pt")
        subject = small(second, TOKENS, seed=2, words=QUICK_WORDS) if effort.quick else minilm(TOKENS)
        report = Report("memory", f"Memory of {subject.name} on {shards} shards of one host", COLUMNS, {})
        progress.expect(3 * len(WORKERS))
        for name, shared in WORKERS.items():
            _measure(report, binary, shards, name, shared, first, subject, progress)
    report.conditions["model"] = subject.what
    report.conditions["memory"] = (
        "of servers and workers, what several map counted once, less that before the model was stored"
    )
    return report


def _measure(
    report: Report,
    binary: str,
    shards: int,
    name: str,
    shared: bool,
    first: Subject,
    subject: Subject,
    progress: Progress,
) -> None:
    blob = subject.file.read_bytes()
    digest = hashlib.sha256(blob).hexdigest()
    rest_s = REST_S if shards == SHARDS else QUICK_REST_S
    with host(binary, shards, shared) as on:
        report.conditions |= conditions_of(on.shards[0], clients=1, rounds=1)
        progress.step(f"{name}: libraries and another model")
        for shard in on.shards:  # so that what remains is the model's
            set_inputs(shard, first)
            store(shard, "first", first, "BLOB", first.file.read_bytes())
            execute(shard, "first", first)
        before, servers_before = on.settled_bytes(rest_s)
        taken = []
        for count in (1, shards):
            progress.step(f"{name}: the model on {count} of {shards} shards")
            for n, shard in enumerate(on.shards[:count]):
                store(shard, "model", subject, *(("DIGEST", digest) if n else ("BLOB", blob)))
                execute(shard, "model", subject)
            now, servers_now = on.settled_bytes(rest_s)
            taken.append(now - before)
            in_servers = (servers_now - servers_before) / 1e6
            report.add(name, str(count), taken[-1] / 1e6, taken[-1] / taken[0], in_servers)
    ratio = taken[-1] / taken[0]
    text = f"{name}: {shards} shards take at most {AT_MOST} times the model memory of one"
    report.promises.append(Promise(text, ratio, ratio <= AT_MOST))
    if shared:
        report.figures["model_memory_ratio"] = ratio
