"""What this worker measures of itself and of its functions, and how it tells: /metrics, and INFO keymiss.

Hot paths only add to plain numbers, here and there; this reads them when it is asked. `follow` and `watch`
are the loop's thread's; the rest is for every thread, as a scrape has one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import keymiss
from keymiss.channel import Part
from keymiss.errors import ChannelError
from keymiss.functions import stage_times
from keymiss.functions.backlog import Backlog, backlogs, fired_by
from keymiss.functions.limits import resident_bytes
from keymiss.functions.shard_info import ShardInfo
from keymiss.metrics import info
from keymiss.metrics.samples import Bounded, Sample, sample
from keymiss.metrics.serving import DEFAULT_ADDRESS, MetricsServer

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

WATCH_S = 1.0
COMPLAIN_S = 60.0  # about a figure that cannot be read, at most once in that time


@dataclass(slots=True)
class _Function:
    """The registrations of one name together."""

    succeeded: int = 0
    failed: int = 0
    aborted: int = 0
    total_s: float = 0.0
    waiting: int = 0
    lag_s: float = 0.0

    def add_waiting(self, backlog: Backlog, now_s: float) -> None:
        self.waiting += backlog.count
        if backlog.since_s is not None:
            self.lag_s = max(self.lag_s, now_s - backlog.since_s)


class Figures:
    """Those of one worker."""

    def __init__(self, gears: Gears) -> None:
        self._gears = gears
        self._shard = gears.shard
        self._shard_info = ShardInfo(gears.shard)
        self._name_of = Bounded()
        self._told: dict[str, str] = {}
        self._server = MetricsServer(self._text, self._shard.log)
        self._complained_s = -COMPLAIN_S

    @property
    def shard(self) -> str:
        """The shard's name: what its metrics are labelled with."""
        hello = self._shard.hello
        return hello.settings.get("shard-name") or str(hello.port)

    # The loop's thread

    def follow(self) -> None:
        """Obey the settings as they are now."""
        address = self._shard.hello.settings.get("metrics-address") or DEFAULT_ADDRESS
        self._server.follow(address, self._shard.setting("metrics-port", 0))

    def watch(self) -> None:
        """Now and every second: tell INFO, where something has changed."""
        if self._shard.channel.closed:
            return
        try:
            functions = self._functions()
            told = info.pairs("functions", self._own()) | _shown(functions)
            if told != self._told:
                self._told = told
                parts: list[Part] = [part for pair in told.items() for part in pair]
                self._shard.channel.send(b"INFO", len(told), *parts, 0, 0)
        except ChannelError:
            return
        except Exception as error:  # functions are worth more than figures
            self._failed(error)
        self._shard.loop.call_later(WATCH_S, self.watch)

    # Every thread

    def _text(self) -> Callable[[], bytes]:
        from keymiss.metrics.exposition import Exposition

        sources = (self._own, self._of_functions, lambda: self._shard_info.samples(self.shard))
        return Exposition(sources, self._failed, lambda: {"shard": self.shard}).text

    def _failed(self, error: Exception) -> None:
        now_s = monotonic()
        if now_s - self._complained_s > COMPLAIN_S:
            self._complained_s = now_s
            self._shard.log(f"a metric could not be read: {type(error).__name__}: {error}", "warning")

    def _own(self) -> Iterator[Sample]:
        shard, hello, gears = self.shard, self._shard.hello, self._gears
        versions = keymiss.__version__, hello.server, hello.server_version
        yield sample("keymiss_build_info", 1, shard, *versions)
        ended = gears.executions.ended
        for outcome, count in (("done", ended.done), ("failed", ended.failed), ("aborted", ended.aborted)):
            yield sample("keymiss_executions_total", count, shard, outcome)
        running = gears.executions.running + sum(one.running for one in gears.registrations)
        yield sample("keymiss_executions_running", running, shard)
        yield sample("keymiss_sessions", len(list(gears.sessions)), shard)
        sizes = [resident_bytes(), *map(resident_bytes, gears.processes.pids)]
        yield sample("keymiss_functions_memory_bytes", sum(sizes), shard)
        yield sample("keymiss_functions_processes", len(sizes), shard)
        for stage, durations in list(stage_times.durations.items()):
            yield sample("keymiss_stage_duration_seconds", durations.snapshot(), shard, stage)

    def _of_functions(self) -> Iterator[Sample]:
        shard = self.shard
        for name, one in self._functions().items():
            outcomes = {"success": one.succeeded, "failure": one.failed, "aborted": one.aborted}
            for outcome, runs in outcomes.items():
                yield sample("keymiss_function_runs_total", runs, shard, name, outcome)
            yield sample("keymiss_function_run_seconds_total", one.total_s, shard, name)
            yield sample("keymiss_registration_lag_seconds", one.lag_s, shard, name)
            yield sample("keymiss_registration_waiting", one.waiting, shard, name)

    def _functions(self) -> dict[str, _Function]:
        """By the names that metrics know them by."""
        found: dict[str, _Function] = {}
        jobs, now_s = backlogs(list(self._shard.jobs.waiting.values())), monotonic()
        for registration in self._gears.registrations:
            one = found.setdefault(self._name_of(registration.desc or registration.id), _Function())
            numbers = registration.numbers
            one.succeeded += numbers.succeeded
            one.failed += numbers.failed
            one.aborted += numbers.aborted
            one.total_s += numbers.total_s
            one.add_waiting(jobs.get(fired_by(registration.id, registration.arguments), Backlog()), now_s)
            if registration.stream is not None:
                for backlog in registration.stream.backlogs():
                    one.add_waiting(backlog, now_s)
        return found


def _shown(functions: dict[str, _Function]) -> dict[str, str]:
    """Fields of INFO, one for each."""
    shown = {}
    for n, (name, one) in enumerate(functions.items()):
        runs = one.succeeded + one.failed + one.aborted
        facts = f"runs={runs},failures={one.failed},waiting={one.waiting},lag_us={one.lag_s * 1e6:.0f}"
        shown[f"function_{n}"] = f"name={info.part(name)},{facts}"
    return shown
