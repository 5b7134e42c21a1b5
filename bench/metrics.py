"""What metrics cost: throughput while both workers serve them and are scraped, beside the same server's while
they serve nothing. What the workers add up for them they add up always; that is timed by itself."""

from __future__ import annotations

import tempfile
import threading
import time
import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import redis

from keymiss.metrics.histogram import Histogram

from . import workload
from .answered import Asking
from .beside import MANY
from .deployment import deployed
from .effort import Effort
from .generator import generating
from .load import CLIENTS, Load, loader
from .miss import COROUTINE, MISS
from .progress import Progress
from .report import Promise, Report, conditions_of
from .rounds import interleave, median_ratio
from .scrape import figures, scrape, wait_until_served
from .servers import find_server, free_ports, running

MOST_COST = 0.01  # of the throughput
SCRAPE_S = 1.0
SCRAPES, QUICK_SCRAPES = 300, 30  # to time one
ADDITIONS = 200_000

TRIGGER = "GB('CommandReader').map(lambda argv: argv[1]).register(trigger='echo', mode='async_local')"
COMMANDS: Mapping[str, Sequence[str]] = {
    "GET that misses": MISS,
    "RG.TRIGGER": ("RG.TRIGGER", "echo", "x"),
}
QUESTION = "question to a deployed model"
SETTINGS = ("keymiss.metrics-port", "keymiss.models-metrics-port")
COLUMNS = [
    "request",
    "clients",
    "with metrics/s",
    "without/s",
    "of without",
    "lower quartile",
    "upper quartile",
]


class _Variant(NamedTuple):
    """What is loaded, from how many clients, with or without metrics."""

    request: str
    clients: int
    scraped: bool

    def __str__(self) -> str:
        return f"{self.request}, {self.clients} clients, {'with' if self.scraped else 'without'} metrics"


def measure(server: str | None, effort: Effort, progress: Progress, model: Sequence[str] = ()) -> Report:
    """A quick run leaves out the questions: to deploy a model takes longer than all the rest. `model` are
    options of `keymiss model store`."""
    binary = find_server(server)
    with ExitStack() as stack:
        client, runs = _commands(stack, binary, effort.seconds, progress)
        loaded = {(name, CLIENTS): (client, run) for name, run in runs.items()}
        if not effort.quick:
            loaded[QUESTION, MANY] = _questions(stack, binary, effort.seconds, progress, model)
        scrapes: list[float] = []
        variants = {
            _Variant(*what, scraped): partial(_rate, run, on, scrapes if scraped else None)
            for what, (on, run) in loaded.items()
            for scraped in (True, False)
        }
        progress.expect(len(variants) * effort.rounds)
        rates = interleave(variants, effort.rounds, progress)
        progress.say("timing a scrape")
        scrape_s = _scrape_cpu_s(client, QUICK_SCRAPES if effort.quick else SCRAPES)
        conditions = conditions_of(client, CLIENTS, effort.rounds)
    conditions["clients"] = "as shown"
    conditions["scrapes"] = (
        f"{len(scrapes)}, one a second of each worker, {1000 * median(scrapes):.1f} ms each"
    )
    report = _report(rates, conditions)
    report.figures["scrape_cpu_s"] = scrape_s
    text = f"a scrape every {SCRAPE_S:g} s takes the functions worker at most {MOST_COST:.0%} of a core"
    report.promises.append(Promise(text, scrape_s / SCRAPE_S, scrape_s / SCRAPE_S <= MOST_COST))
    return report


def _commands(
    stack: ExitStack, binary: str, seconds: float, progress: Progress
) -> tuple[redis.Redis, dict[str, Callable[[], float]]]:
    """A server, and for each command what loads it and gives its rate."""
    progress.say("starting a server")
    client = stack.enter_context(running(binary, module=True))
    for script in (COROUTINE, TRIGGER):
        client.execute_command("RG.PYEXECUTE", script)
    runs: dict[str, Callable[[], float]] = {}
    for name, command in COMMANDS.items():
        progress.say(f"warming up: {name}")
        load = loader(client, command, CLIENTS, seconds)
        runs[name] = partial(_rate_of, load)
    return client, runs


def _rate_of(load: Callable[[], Load]) -> float:
    return load().rate


def _questions(
    stack: ExitStack, binary: str, seconds: float, progress: Progress, model: Sequence[str]
) -> tuple[redis.Redis, Callable[[], float]]:
    """A server that answers questions, and what asks it and gives its rate."""
    progress.say("deploying")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keymiss-bench-")))
    deployment = stack.enter_context(deployed(binary, workload.items((), workload.LEAST), folder, model))
    generator, target = stack.enter_context(generating()), deployment.target()
    generator.ask(target, Asking(seconds, MANY))  # warm, as the others are
    return deployment.client, lambda: generator.ask(target, Asking(seconds, MANY)).rate


def _rate(run: Callable[[], float], client: redis.Redis, scrapes: list[float] | None) -> float:
    """Requests a second. `scrapes`: with metrics, scraped meanwhile; how long each took is added to it."""
    if scrapes is None:
        with _served(client) as ports, _scraping(ports, []):
            pass  # so that both kinds of runs begin after the same
        return run()
    with _served(client) as ports, _scraping(ports, scrapes):
        return run()


@contextmanager
def _served(client: redis.Redis) -> Iterator[Sequence[int]]:
    """The ports on which both workers serve metrics meanwhile."""
    ports = free_ports(len(SETTINGS))
    for setting, port in zip(SETTINGS, ports, strict=True):
        client.config_set(setting, port)
    try:
        yield ports
    finally:
        for setting in SETTINGS:
            client.config_set(setting, 0)


@contextmanager
def _scraping(ports: Sequence[int], took_s: list[float]) -> Iterator[None]:
    """Each port is scraped every second, from now on; RuntimeError where one is not served in time."""
    wait_until_served(ports)
    over = threading.Event()

    def run() -> None:
        while True:
            took_s.extend(took for port in ports if (took := _scrape(port)) is not None)
            if over.wait(SCRAPE_S):
                return

    scraping = threading.Thread(target=run)
    scraping.start()
    try:
        yield
    finally:
        over.set()
        scraping.join()


def _scrape(port: int) -> float | None:
    """How many seconds it took; None where nothing is served."""
    began_s = time.perf_counter()
    try:
        scrape(port)
    except OSError:
        return None
    return time.perf_counter() - began_s


def _scrape_cpu_s(client: redis.Redis, scrapes: int) -> float:
    """Processor time that the functions worker takes for one scrape, by its own account."""
    with _served(client) as (port, _), _scraping((port,), []):
        before_s = _cpu_s(port)
        for _ in range(scrapes):
            scrape(port)
        return (_cpu_s(port) - before_s) / (scrapes + 1)


def _cpu_s(port: int) -> float:
    return figures(scrape(port))["process_cpu_seconds_total"]


def _report(rates: Mapping[_Variant, Sequence[float]], conditions: dict[str, str]) -> Report:
    report = Report("metrics", "What metrics cost", COLUMNS, conditions)
    for variant, scraped in rates.items():
        if not variant.scraped:
            continue
        plain = rates[variant._replace(scraped=False)]
        ratios = sorted(one / other for one, other in zip(scraped, plain, strict=True))
        ratio = median_ratio(scraped, plain)
        low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else 3 * ratios
        report.add(variant.request, variant.clients, median(scraped), median(plain), ratio, low, high)
        text = (
            f"{variant.request} at {variant.clients} clients: metrics cost at most {MOST_COST:.0%}, reached"
        )
        report.promises.append(Promise(text, ratio, ratio >= 1 - MOST_COST))
    report.figures["addition_ns"] = addition_ns = _addition_ns()
    report.conditions["one addition to a histogram"] = f"{addition_ns:.0f} ns"
    return report


def _addition_ns() -> float:
    histogram = Histogram()
    return min(timeit.repeat(lambda: histogram.add(0.003), number=ADDITIONS, repeat=3)) / ADDITIONS * 1e9
