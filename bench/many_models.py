"""Twelve models behind one host, in less memory than they need.

The scenario of the zero-copy model loading benchmark (project-codeflare/zero-copy-model-loading): a chatbot
with twelve question-answering models. Requests arrive as a Poisson process; which model one is for is drawn
from a Poisson distribution cut off behind the last model, so that a few get nearly all of them. Latency
counts from when a request was due, whether or not it could be sent then.
"""

from __future__ import annotations

import math
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import redis

from .effort import Effort
from .host import Host, execute, host, memory_of, set_inputs, store
from .progress import Progress
from .report import Promise, Report, conditions_of
from .rounds import percentile
from .scrape import figures, scrape, wait_until_served
from .servers import find_server, free_ports
from .subjects import Subject, minilm, perturbed, small

MODELS, IN_MEMORY, MEAN = 12, 4, 3.0  # models; how many fit; mean of the distribution that chooses
TOKENS = 64
SENDERS = 32
SECONDS, QUICK_SECONDS = 5.0, 0.5
OVERTIME_S = 5.0  # what is not answered so long behind the last request is not waited for
LOADS = (0.1, 0.3, 0.6, 0.9)  # of what can be answered with all models in memory
QUICK_LOADS = (0.1, 0.5)
P99_AT_MOST = 2.0
RESIDENT, BUDGET, LOADED = "all in memory", f"room for {IN_MEMORY}", "loaded for each request"
COLUMNS = [
    "way",
    "requests/s",
    "of saturation",
    "answered/s",
    "p50 ms",
    "p99 ms",
    "weights MB",
    "RSS MB",
]

Ask = Callable[[int], None]  # answered when it returns; of the model with that number


class Request(NamedTuple):
    """When it is due, in seconds from the beginning, and which model it is for."""

    due_s: float
    model: int


@dataclass
class Latencies(Report):
    """Drawn as the 99th percentile against the rate, a line a way."""

    def _draw(self, path: Path) -> bool:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return False
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.add_subplot(title=self.title, xlabel="requests/s", ylabel="p99 ms", yscale="log")
        for way in dict.fromkeys(row["way"] for row in self.rows):
            rows = [row for row in self.rows if row["way"] == way and row["p99 ms"] is not None]
            axes.plot(
                [float(row["requests/s"] or 0) for row in rows],
                [float(row["p99 ms"] or 0) for row in rows],
                marker="o",
                label=str(way),
            )
        axes.legend()
        figure.savefig(path, dpi=150)
        return True


@dataclass
class Way:
    """A way to serve them: how to ask, and what it has in memory: the weights, and the whole process."""

    ask: Ask
    weights_bytes: Callable[[], int]
    resident_bytes: Callable[[], int]


@dataclass
class Sample:
    """What came of one trace."""

    latencies_ms: list[float] = field(default_factory=list)
    answered: int = 0
    weights_bytes: list[int] = field(default_factory=list)
    resident_bytes: list[int] = field(default_factory=list)
    took_s: float = 0.0


def measure(server: str | None, effort: Effort, progress: Progress) -> Report:
    """FileNotFoundError where no server is installed; RuntimeError where one does not start."""
    binary = find_server(server)
    seconds, loads = (QUICK_SECONDS, QUICK_LOADS) if effort.quick else (SECONDS, LOADS)
    with tempfile.TemporaryDirectory(prefix="keymiss-bench-") as folder:
        progress.say(f"writing {MODELS} models")
        models = _models(Path(folder), effort.quick)
        size = models[0].file.stat().st_size
        report = Latencies("many-models", f"{MODELS} models behind one host", COLUMNS, {})
        progress.expect(3 * len(loads))
        with ExitStack() as stack:
            way, client, _ = stack.enter_context(_served(binary, models, {}))
            report.conditions = conditions_of(client, SENDERS, rounds=1) | _conditions(models, size, seconds)
            saturation = _saturation(way, QUICK_SECONDS if effort.quick else SECONDS / 2)
            traces = {load: trace(load * saturation, seconds) for load in loads}
            _run_all(report, RESIDENT, way, traces, saturation, progress)
        with _served(binary, models, {"keymiss.models-memory": IN_MEMORY * size}) as (way, _, port):
            _run_all(report, BUDGET, way, traces, saturation, progress)
            report.conditions["put out, brought back"] = _turnover(port)
        _run_all(report, LOADED, _loading(models), traces, saturation, progress)
    _promise(report)
    return report


def trace(rate: float, seconds: float, seed: int = 7) -> list[Request]:
    """Poisson arrivals at `rate` a second, each for a model drawn from the cut-off Poisson distribution."""
    chance, requests, due_s = random.Random(seed), [], 0.0
    weights = [MEAN**k * math.exp(-MEAN) / math.factorial(k) for k in range(MODELS)]
    while (due_s := due_s + chance.expovariate(rate)) < seconds:
        requests.append(Request(due_s, *chance.choices(range(MODELS), weights)))
    return requests or [Request(0.0, 0)]


def run_trace(requests: Sequence[Request], way: Way) -> Sample:
    """Send each request when it is due, or as soon as a sender is free. What is not answered in time counts
    with how long it has waited at the end."""
    sample, answered, began_s = Sample(), list[Request](), time.perf_counter()
    end_s = began_s + requests[-1].due_s + OVERTIME_S

    def send(request: Request) -> None:
        due_s = began_s + request.due_s
        time.sleep(max(0.0, due_s - time.perf_counter()))
        if time.perf_counter() < end_s:
            way.ask(request.model)
            answered.append(request)
        sample.latencies_ms.append((time.perf_counter() - due_s) * 1000)

    with ThreadPoolExecutor(SENDERS) as pool:
        sending = {pool.submit(send, request) for request in requests}
        while sending:
            sample.weights_bytes.append(way.weights_bytes())
            sample.resident_bytes.append(way.resident_bytes())
            done, sending = wait(sending, timeout=0.25)
            for one in done:
                one.result()
    sample.answered, sample.took_s = len(answered), time.perf_counter() - began_s
    return sample


# The ways


@contextmanager
def _served(
    binary: str, models: Sequence[Subject], settings: Mapping[str, object]
) -> Iterator[tuple[Way, redis.Redis, int]]:
    """Keymiss, each model under a key of one shard, run once; the shard, and where the models worker serves
    its metrics."""
    with host(binary, 1, shared_worker=True, settings=settings) as on, ExitStack() as stack:
        (shard,) = on.shards
        set_inputs(shard, models[0])
        for n, subject in enumerate(models):
            store(shard, f"model{n}", subject, "BLOB", subject.file.read_bytes())
            execute(shard, f"model{n}", subject)
        (port,) = free_ports(1)
        shard.config_set("keymiss.models-metrics-port", port)
        wait_until_served([port])
        options = shard.connection_pool.connection_kwargs
        pool = redis.ConnectionPool(
            port=options["port"], socket_timeout=options["socket_timeout"], protocol=2
        )
        stack.callback(pool.disconnect)
        client = stack.enter_context(closing(redis.Redis(connection_pool=pool)))
        yield (
            Way(
                lambda model: execute(client, f"model{model}", models[model]),
                lambda: int(figures(scrape(port))["keymiss_models_resident_bytes"]),
                lambda: _worker_rss(on),
            ),
            shard,
            port,
        )


def _worker_rss(on: Host) -> int:
    return sum(memory_of(pid, "Rss") for pid in on.shared_worker_pids)


def _turnover(metrics_port: int) -> str:
    told = figures(scrape(metrics_port))
    put_out, back = told["keymiss_models_put_out_total"], told["keymiss_models_brought_back_total"]
    return f"{put_out:.0f} and {back:.0f} times"


def _loading(models: Sequence[Subject]) -> Way:
    """No server: the file is read for each request, by one thread after the other, and let go."""
    import torch

    one = threading.Lock()
    inputs = [torch.from_numpy(np.ones(models[0].shape, np.int64)) for _ in range(models[0].inputs)]

    def ask(model: int) -> None:
        with one, torch.inference_mode():
            module: Any = torch.jit.load(str(models[model].file))
            module(*inputs)

    size = models[0].file.stat().st_size
    return Way(ask, lambda: size, lambda: memory_of(os.getpid(), "Rss"))


def _saturation(way: Way, seconds: float) -> float:
    """Requests a second that are answered where there are always some that wait."""
    end_s, models = time.perf_counter() + seconds, [one.model for one in trace(1000.0, 1.0)]

    def send(first: int) -> int:
        sent = 0
        while time.perf_counter() < end_s:
            way.ask(models[(first + sent) % len(models)])
            sent += 1
        return sent

    with ThreadPoolExecutor(SENDERS) as pool:
        return sum(pool.map(send, range(0, SENDERS * 7, 7))) / seconds


# The report


def _models(folder: Path, quick: bool) -> list[Subject]:
    first = small(folder / "first.pt", TOKENS) if quick else minilm(TOKENS)
    return [perturbed(first, folder / f"{n}.pt", seed=n) for n in range(MODELS)]


def _conditions(models: Sequence[Subject], size: int, seconds: float) -> dict[str, str]:
    return {
        "models": f"{MODELS} PERTURBED copies of: {models[0].what}, {size / 1e6:.0f} MB each",
        "seconds for each rate": str(seconds),
        "choice": f"Poisson with mean {MEAN}, cut off at {MODELS}",
    }


def _run_all(
    report: Report,
    name: str,
    way: Way,
    traces: Mapping[float, Sequence[Request]],
    saturation: float,
    progress: Progress,
) -> None:
    for load, requests in traces.items():
        progress.step(f"{name}: {load * saturation:.1f} requests a second")
        sample = run_trace(requests, way)
        report.add(
            name,
            load * saturation,
            load,
            sample.answered / sample.took_s,
            percentile(sample.latencies_ms, 50),
            percentile(sample.latencies_ms, 99),
            median(sample.weights_bytes) / 1e6,
            median(sample.resident_bytes) / 1e6,
        )


def _promise(report: Report) -> None:
    """At half load, of what is measured there."""
    load = min({row["of saturation"] for row in report.rows}, key=lambda load: abs(float(load or 0) - 0.5))
    rows = {row["way"]: row for row in report.rows if row["of saturation"] == load}
    ratio = float(rows[BUDGET]["p99 ms"] or 0) / float(rows[RESIDENT]["p99 ms"] or 1)
    text = f"at {load} of saturation, p99 with {BUDGET} is at most {P99_AT_MOST} times that with {RESIDENT}"
    report.promises.append(Promise(text, ratio, ratio <= P99_AT_MOST))
    share = float(rows[BUDGET]["weights MB"] or 0) / float(rows[RESIDENT]["weights MB"] or 1)
    text = f"the weights in memory with {BUDGET} are at most {IN_MEMORY}/{MODELS} of those with {RESIDENT}"
    report.promises.append(Promise(text, share, share <= IN_MEMORY / MODELS + 0.01))
