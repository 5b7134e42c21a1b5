"""What a benchmark is doing, while it does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress as Bar

from keymiss.cli.console import plain_console
from keymiss.cli.progress import bar


class Progress:
    """A bar where stderr is a terminal, else a line there for each step."""

    def __init__(self, console: Console, shown: Bar) -> None:
        self._console = console
        self._bar = shown
        self._task = shown.add_task("starting", total=None)
        self._expected = self._done = 0

    def say(self, what: str) -> None:
        """What is done now, before anything is measured."""
        self._bar.update(self._task, description=what)
        if not self._console.is_terminal:
            self._console.print(what)

    def expect(self, measurements: int) -> None:
        """So many `step`s will follow."""
        self._expected = measurements
        self._bar.update(self._task, total=measurements)

    def step(self, what: str) -> None:
        """The next measurement begins."""
        self._bar.update(self._task, description=what, completed=self._done)
        self._done += 1
        if not self._console.is_terminal:
            self._console.print(f"{self._done} of {self._expected}: {what}")


@contextmanager
def progress() -> Iterator[Progress]:
    """Progress on stderr, so that the table is all that stdout has."""
    console = plain_console(stderr=True)
    with bar(console) as shown:
        yield Progress(console, shown)
