"""What the module costs commands that have nothing to do with it, and a hooked GET that hits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from statistics import median

from .effort import Effort
from .load import CLIENTS, Key, Load, loads_of
from .progress import Progress
from .report import COLUMNS, Promise, Report, conditions_of
from .rounds import median_ratio
from .servers import find_server, running

NOT_HOOKED_AT_LEAST = 0.97
HOOKED_HIT_AT_LEAST = 0.90
SLICES = 8  # of a run: a few per cent can be told only of what ran at nearly the same time

KEY = "bench:key"
HOOKED_KEY = "bench:hooked:key"
VALUE = "x" * 64

# Never fires: the key is always there. One hook like it is what a question-answering deployment has.
HOOK = (
    "async def answer(record):\n    override_reply('x')\n"
    "GB('KeysReader').map(answer).register(prefix='bench:hooked:*', commands=['get'], eventTypes=['keymiss'],"
    " mode='async_local')"
)


def measure(server: str | None, effort: Effort, progress: Progress) -> Report:
    """Plain server, server with the module, server with a hook: GET and SET beside each other."""
    binary = find_server(server)
    with ExitStack() as stack:
        plain = stack.enter_context(running(binary, module=False))
        loaded = stack.enter_context(running(binary, module=True))
        hooked = stack.enter_context(running(binary, module=True))
        hooked.execute_command("RG.PYEXECUTE", HOOK)
        for client in (plain, loaded, hooked):
            client.mset({KEY: VALUE, HOOKED_KEY: VALUE})
        get, set_, hit = ("GET", KEY), ("SET", KEY, VALUE), ("GET", HOOKED_KEY)
        variants = {
            "GET, plain server": (plain, get),
            "GET, module": (loaded, get),
            "GET, module and hooks": (hooked, get),
            "hooked GET that hits": (hooked, hit),
            "SET, plain server": (plain, set_),
            "SET, module": (loaded, set_),
            "SET, module and hooks": (hooked, set_),
        }
        progress.expect(2 * len(variants) * SLICES * effort.rounds)
        loads = loads_of(variants, SLICES * effort.rounds, effort.seconds / SLICES, progress)
        report = Report(
            "overhead",
            "What the module costs other commands",
            COLUMNS,
            conditions_of(plain, CLIENTS, effort.rounds),
        )
    ratios = _add_rows(report, loads, variants)
    report.promises += _promises(ratios)
    return report


def _add_rows(report: Report, loads: Mapping[Key, Sequence[Load]], names: Iterable[str]) -> dict[str, float]:
    """The rates beside those of a plain server, by row."""
    ratios: dict[str, float] = {}
    for name in names:
        many, one = loads[Key(name, CLIENTS)], loads[Key(name, 1)]
        baseline = loads[Key("SET, plain server" if name.startswith("SET") else "GET, plain server", CLIENTS)]
        ratios[name] = median_ratio([load.rate for load in many], [load.rate for load in baseline])
        report.add(
            name,
            median(load.rate for load in many),
            ratios[name],
            median(load.p50_ms for load in one),
            median(load.p99_ms for load in one),
        )
    return ratios


def _promises(ratios: Mapping[str, float]) -> list[Promise]:
    hit_ratio = ratios["hooked GET that hits"]
    worst = min(ratio for name, ratio in ratios.items() if name.endswith(("module", "hooks")))
    return [
        Promise(
            f"commands that are not hooked reach {NOT_HOOKED_AT_LEAST} of a plain server",
            worst,
            worst >= NOT_HOOKED_AT_LEAST,
        ),
        Promise(
            f"a hooked GET that hits reaches {HOOKED_HIT_AT_LEAST} of a plain GET",
            hit_ratio,
            hit_ratio >= HOOKED_HIT_AT_LEAST,
        ),
    ]
