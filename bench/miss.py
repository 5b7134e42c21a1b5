"""What a miss costs: through a trivial coroutine, and on top of a deployed model's forward pass."""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median

from .effort import Effort
from .load import CLIENTS, Key, loads_of
from .progress import Progress
from .question import Question, ask
from .report import COLUMNS, Promise, Report, conditions_of
from .rounds import median_ratio, percentile
from .servers import find_server, running

RATE_AT_LEAST = 0.25  # of a plain GET, at 50 clients
P50_BELOW_MS = 0.2  # at one client
OVER_FORWARD_BELOW_MS = 0.3

COROUTINE = (
    "async def answer(record):\n    override_reply('x')\n"
    "GB('KeysReader').map(answer).register(prefix='bench:miss:*', commands=['get'], eventTypes=['keymiss'], "
    "mode='async_local')"
)
MISS = ("GET", "bench:miss:__rand_int__")  # never stored, so every one is a miss


def measure(server: str | None, effort: Effort, progress: Progress, question: Question | None) -> Report:
    """A plain GET beside a miss; and `question`, asked one at a time in new words, beside its model."""
    binary = find_server(server)
    with ExitStack() as stack:
        plain = stack.enter_context(running(binary, module=False))
        hooked = stack.enter_context(running(binary, module=True))
        plain.set("bench:key", "x")
        hooked.execute_command("RG.PYEXECUTE", COROUTINE)
        variants = {
            "GET, plain server": (plain, ("GET", "bench:key")),
            "GET that misses": (hooked, MISS),
        }
        progress.expect(2 * len(variants) * effort.rounds)
        loads = loads_of(variants, effort.rounds, effort.seconds, progress)
        report = Report(
            "miss",
            "What a miss costs",
            COLUMNS,
            conditions_of(plain, CLIENTS, effort.rounds),
        )
    rates = {name: [load.rate for load in loads[Key(name, CLIENTS)]] for name in variants}
    baseline, missed = rates.values()
    p50_ms = {name: median(load.p50_ms for load in loads[Key(name, 1)]) for name in variants}
    for name in variants:
        p99_ms = median(load.p99_ms for load in loads[Key(name, 1)])
        report.add(name, median(rates[name]), median_ratio(rates[name], baseline), p50_ms[name], p99_ms)
    ratio, latency = median_ratio(missed, baseline), list(p50_ms.values())[1]
    report.promises += [
        Promise(
            f"a miss at {CLIENTS} clients reaches {RATE_AT_LEAST} of a plain GET",
            ratio,
            ratio >= RATE_AT_LEAST,
        ),
        Promise(
            f"a miss at one client takes under {P50_BELOW_MS} ms at p50", latency, latency < P50_BELOW_MS
        ),
    ]
    if question is not None:
        _add_question(report, question, effort.rounds * effort.seconds)
    return report


def _add_question(report: Report, question: Question, seconds: float) -> None:
    asked = ask(question, seconds)
    for name, values in (
        ("GET that asks a model", [one.whole_ms for one in asked]),
        ("its forward pass", [one.forward_ms for one in asked]),
        ("what Keymiss adds", [one.added_ms for one in asked]),
    ):
        report.add(name, None, None, median(values), percentile(values, 99))
    added = median(one.added_ms for one in asked)
    report.promises.append(
        Promise(
            f"a question takes at most {OVER_FORWARD_BELOW_MS} ms over the model's forward pass at p50",
            added,
            added <= OVER_FORWARD_BELOW_MS,
        )
    )
