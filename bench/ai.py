"""What AI.* costs: tensors beside strings of the same size, models beside the same model called directly."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import redis

from keymiss.inference.allocator import find_jemalloc

from .direct import called_directly
from .effort import Effort
from .load import CLIENTS, Key, Load, loader
from .progress import Progress
from .report import Promise, Report, conditions_of
from .rounds import interleave, median_ratio
from .servers import find_server, running
from .subjects import Subject, subjects

MODEL_CLIENTS = (1, 8, CLIENTS)
QUICK_CLIENTS = MODEL_CLIENTS[:2]  # of the model that takes its time: 50 wait for 50 passes
SIZES = {"1 KB": (1 << 10, CLIENTS), "1 MB": (1 << 20, 8)}  # bytes, and from how many clients
PIPELINE = 16

TENSORS_AT_LEAST = 0.9  # of SET and GET, 1 KB
MODEL_AT_LEAST = 0.95  # of the direct call, at 8 clients
TINY_AT_LEAST = 0.4  # of SET, at 50 clients
TINY_P50_BELOW_MS = 0.2  # at one client

SCRIPT = """
def add(tensors: List[Tensor], keys: List[str], args: List[str]):
    return tensors[0] + 1.0
"""

COLUMNS = ["request", "clients", "requests/s", "of plain", "p50 ms", "p99 ms"]


@dataclass(frozen=True)
class Row:
    """What is measured, and beside which row: its own where it is the plain one."""

    key: Key
    load: Callable[[], Load]
    beside: Key


def measure(server: str | None, effort: Effort, progress: Progress) -> Report:
    """Strings, tensors, models through the server and models called directly, in the rounds of one run."""
    threads = len(os.sched_getaffinity(0))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keymiss-bench-")))
        settings = {"keymiss.models-threads": threads}
        client = stack.enter_context(running(find_server(server), module=True, settings=settings))
        progress.say("exporting the models")
        models = subjects(folder)
        rows = _tensor_rows(client, effort.seconds, progress)
        for model in models:
            direct = stack.enter_context(called_directly(model, threads, effort.seconds))
            clients = QUICK_CLIENTS if effort.quick and model is not models[0] else MODEL_CLIENTS
            rows += _model_rows(client, model, direct, clients, effort.seconds, progress)
        rows += _graph_rows(client, models[0], effort.seconds, progress)
        progress.expect(len(rows) * effort.rounds)
        loads = interleave({row.key: row.load for row in rows}, effort.rounds, progress)
        conditions = conditions_of(client, CLIENTS, effort.rounds)
    conditions |= {"clients": "as shown", "pipelined": f"{PIPELINE} of a client on the way"}
    conditions |= {"plain": "SET, GET and the direct call", "threads of a forward pass": str(threads)}
    conditions |= {"allocator of models": "jemalloc" if find_jemalloc() else "the system's"}
    conditions |= {model.name: model.what for model in models}
    report = Report("ai", "What tensors and models cost", COLUMNS, conditions)
    for row in rows:
        measured = loads[row.key]
        rate, p50_ms, p99_ms = (
            median(getattr(load, figure) for load in measured) for figure in ("rate", "p50_ms", "p99_ms")
        )
        report.add(*row.key, rate, _ratio(measured, loads[row.beside]), p50_ms, p99_ms)
    report.promises += _promises(loads, *models)
    return report


def _tensor_rows(client: redis.Redis, seconds: float, progress: Progress) -> list[Row]:
    """SET and GET, and beside them the same bytes as a tensor, and with their shape in a hash, which takes as
    many arguments; plain and pipelined."""
    rows: list[Row] = []
    for size, (size_bytes, clients) in SIZES.items():
        blob = "x" * size_bytes
        commands = {
            "SET": ("SET", f"string:{size}", blob),
            "GET": ("GET", f"string:{size}"),
            "TENSORSET": ("AI.TENSORSET", f"tensor:{size}", "FLOAT", str(size_bytes // 4), "BLOB", blob),
            "TENSORGET": ("AI.TENSORGET", f"tensor:{size}", "BLOB"),
        }
        if size == "1 KB":  # where arguments cost as much as bytes
            commands["HSET"] = ("HSET", f"hash:{size}", "shape", str(size_bytes // 4), "blob", blob)
        for pipeline in (1, PIPELINE):
            for name, command in commands.items():
                key = Key(_tensor_row(name, size, pipeline), clients)
                plain = Key(_tensor_row(name[-len("SET") :], size, pipeline), clients)
                progress.say(f"warming up: {key}")
                rows.append(Row(key, loader(client, command, clients, seconds, pipeline), plain))
    return rows


def _tensor_row(command: str, size: str, pipeline: int) -> str:
    return f"{command} {size}" + (", pipelined" if pipeline > 1 else "")


def _model_rows(
    client: redis.Redis,
    model: Subject,
    direct: Callable[[], Load],
    clients: Sequence[int],
    seconds: float,
    progress: Progress,
) -> list[Row]:
    """The model called directly, and through the server one request at a time and in batches."""
    called = _direct_row(model)
    rows = [Row(called, direct, called)]
    inputs = [f"{model.name}:input:{n}" for n in range(model.inputs)]
    outputs = [f"{model.name}:output:{n}" for n in range(model.outputs)]
    for name in inputs:
        client.execute_command("AI.TENSORSET", name, model.dtype, *model.shape, "BLOB", model.blob)
    blob = model.file.read_bytes()
    for batchsize in (0, model.batchsize):
        key = f"{model.name}:{batchsize}"
        options = ("BATCHSIZE", batchsize) if batchsize else ()
        client.execute_command("AI.MODELSTORE", key, "TORCH", "CPU", *options, "BLOB", blob)
        command = ["AI.MODELEXECUTE", key, "INPUTS", str(model.inputs), *inputs]
        command += ["OUTPUTS", str(model.outputs), *outputs]
        for some in clients:
            row = Key(_model_row(model, batchsize), some)
            progress.say(f"warming up: {row}")
            rows.append(Row(row, loader(client, command, some, seconds), called))
    return rows


def _graph_rows(client: redis.Redis, tiny: Subject, seconds: float, progress: Progress) -> Iterator[Row]:
    """The tiny model in a DAG, and a script that does as little."""
    client.execute_command("AI.SCRIPTSTORE", "script", "CPU", "ENTRY_POINTS", 1, "add", "SOURCE", SCRIPT)
    given, model = f"{tiny.name}:input:0", f"{tiny.name}:0"
    run = ["AI.MODELEXECUTE", model, "INPUTS", "1", given, "OUTPUTS", "1", "made"]
    graph = ["AI.DAGEXECUTE", "LOAD", "1", given, "PERSIST", "1", "made", "|>", *run]
    script = ["AI.SCRIPTEXECUTE", "script", "add", "INPUTS", "1", given, "OUTPUTS", "1", "made"]
    for name, command in {f"{tiny.name} in a DAG": graph, "a script of one addition": script}.items():
        for clients in (1, CLIENTS):
            row = Key(name, clients)
            progress.say(f"warming up: {row}")
            yield Row(row, loader(client, command, clients, seconds), _direct_row(tiny))


def _model_row(model: Subject, batchsize: int = 0) -> str:
    return model.name + (f", BATCHSIZE {batchsize}" if batchsize else "")


def _direct_row(model: Subject) -> Key:
    return Key(f"{model.name} called directly", 1)


def _promises(loads: Mapping[Key, Sequence[Load]], tiny: Subject, real: Subject) -> Iterator[Promise]:
    """What this run says of the claims."""
    one, some, many = MODEL_CLIENTS
    called = loads[_direct_row(real)]
    alone = _ratio(loads[Key(_model_row(real), some)], called)
    yield Promise(
        f"{real.name} at {some} clients reaches {MODEL_AT_LEAST} of the direct call",
        alone,
        alone >= MODEL_AT_LEAST,
    )
    joined = _ratio(loads[Key(_model_row(real, real.batchsize), some)], called)
    yield Promise(f"with BATCHSIZE {real.batchsize} it exceeds the direct call", joined, joined > 1)
    of_set = _ratio(loads[Key(_model_row(tiny), many)], loads[Key(_tensor_row("SET", "1 KB", 1), many)])
    yield Promise(
        f"a {tiny.name} model at {many} clients reaches {TINY_AT_LEAST} of SET",
        of_set,
        of_set >= TINY_AT_LEAST,
    )
    p50_ms = median(load.p50_ms for load in loads[Key(_model_row(tiny), one)])
    yield Promise(
        f"a {tiny.name} model at one client takes under {TINY_P50_BELOW_MS} ms at p50",
        p50_ms,
        p50_ms < TINY_P50_BELOW_MS,
    )
    tensors = min(
        _ratio(
            loads[Key(_tensor_row(f"TENSOR{verb}", "1 KB", pipeline), CLIENTS)],
            loads[Key(_tensor_row(verb, "1 KB", pipeline), CLIENTS)],
        )
        for verb in ("SET", "GET")
        for pipeline in (1, PIPELINE)
    )
    yield Promise(
        f"tensors of 1 KB reach {TENSORS_AT_LEAST} of SET and GET, pipelined too",
        tensors,
        tensors >= TENSORS_AT_LEAST,
    )


def _ratio(loads: Sequence[Load], plain: Sequence[Load]) -> float:
    return median_ratio([load.rate for load in loads], [load.rate for load in plain])
