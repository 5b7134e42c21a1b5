"""The live view: totals above, one table at a time below, both made anew from each reading."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from bisect import bisect_left, bisect_right
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer, Static, TabbedContent, TabPane

from .figures import Figures, Row, compare
from .help import Help
from .reading import Reader, Reading
from .tables import TABLES, TOTALS
from .view import TableView, style_of

INTERVALS_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # workers tell their figures once a second
FIRST_INTERVAL_S = 1.0  # at most: rates need a second reading
TOTAL_WIDTH = 19  # characters of one figure: four in 80 columns

TERMINATED = 128 + signal.SIGTERM  # as a shell says that a signal ended a program


class Top(App[None]):
    """Shows what `reader` reads, every `interval_s` seconds."""

    CSS = """
    #heading { height: 1; background: $panel; }
    #totals { height: auto; max-height: 5; padding: 0 1; }
    TabbedContent, ContentSwitcher { height: 1fr; }
    TabPane { padding: 0; }
    TableView { height: 1fr; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("question_mark,f1,h", "help", "Help", key_display="?"),
        Binding("p,space", "pause", "Pause", key_display="p"),
        Binding("s,greater_than_sign", "sort(1)", "Sort", key_display="s"),
        Binding("S,less_than_sign", "sort(-1)", show=False),
        Binding("r", "reverse", "Reverse"),
        Binding("plus,equals_sign", "interval(1)", "Slower", key_display="+"),
        Binding("minus", "interval(-1)", "Faster", key_display="-"),
        *(Binding(str(n), f"table({n - 1})", show=False) for n in range(1, len(TABLES) + 1)),
    ]

    def __init__(self, reader: Reader, interval_s: float) -> None:
        super().__init__()
        self._reader, self._interval_s = reader, interval_s
        self._figures: Figures | None = None  # the last; None until a first reading
        self._paused = False
        self._changed = asyncio.Event()  # the interval, or whether to pause

    def compose(self) -> ComposeResult:
        yield Static(id="heading")
        yield Static(id="totals")
        with TabbedContent(id="tables"):
            for number, table in enumerate(TABLES):
                with TabPane(f"{number + 1} {table.title}", id=_pane(number)):
                    yield TableView(table)
        yield Footer()

    def on_mount(self) -> None:
        with contextlib.suppress(RuntimeError):  # of an event loop beside the main thread: no signals there
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._terminate)
        self._show_heading()
        self._table.focus()
        self.run_worker(self._follow())

    async def on_unmount(self) -> None:
        self.workers.cancel_all()
        await self._reader.aclose()

    # What is read

    async def _follow(self) -> None:
        """Read and show, until the app ends."""
        before: Reading = {}
        while True:
            started = time.monotonic()
            now = await self._reader.read()
            if not self.is_running:  # what would show it is being taken away
                return
            self._figures = compare(before, now)
            self._show()
            first, before = not before, now
            if await self._rest(started, first):
                before = {}  # rates over the pause would say little

    async def _rest(self, since: float, first: bool) -> bool:
        """Until it is time for the next reading; whether there was a pause."""
        paused = False
        while True:
            self._changed.clear()
            paused = paused or self._paused
            interval_s = min(self._interval_s, FIRST_INTERVAL_S) if first else self._interval_s
            left_s = None if self._paused else since + interval_s - time.monotonic()
            if left_s is not None and (left_s <= 0 or paused):
                return paused
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left_s)

    # What is shown

    @property
    def _table(self) -> TableView:
        """The one in view."""
        return (
            self.query_one(TabbedContent).get_pane(self.query_one(TabbedContent).active).query_one(TableView)
        )

    def _show(self) -> None:
        if self._figures is None:
            return
        self.query_one("#totals", Static).update(self._totals(self._figures.totals))
        for view in self.query(TableView):
            view.show(view.table.of(self._figures))
        self._show_heading()

    def _totals(self, totals: Row) -> Text:
        """As many on a line as there is room for."""
        a_line = max(1, self.size.width // TOTAL_WIDTH)
        text = Text(no_wrap=True)
        for n, column in enumerate(TOTALS):
            written = column.cell(totals)
            text.append("\n" if n and n % a_line == 0 else "")
            text.append(f"{column.title} ", "dim").append(written, style_of(column, totals))
            text.append(" " * max(1, TOTAL_WIDTH - len(column.title) - len(written) - 1))
        return text

    def _show_heading(self) -> None:
        words = ["keymiss top"]
        if self._figures is None:
            words.append("reading ...")
        else:
            totals = self._figures.totals
            words += [
                str(totals["server"] or "no server"),
                f"{totals['servers_up']} of {totals['servers']} up",
            ]
        words += [f"every {self._interval_s:g} s", self._table.order]
        style = "" if self._figures is None or self._figures.complete else "bold red"
        heading = Text.assemble((" " + "  ".join(filter(None, words)), style), no_wrap=True)
        if self._paused:
            heading.append("  paused", "reverse")
        self.query_one("#heading", Static).update(heading)

    def on_resize(self) -> None:
        self._show()

    def on_tabbed_content_tab_activated(self) -> None:
        self._table.focus()
        self._show_heading()

    def on_table_view_ordered(self) -> None:
        self._show()

    # Keys

    def action_help(self) -> None:
        self.push_screen(Help(self._table.table))

    def action_pause(self) -> None:
        self._paused = not self._paused
        self._changed.set()
        self._show_heading()

    def action_sort(self, step: int) -> None:
        self._table.sort_next(step)

    def action_reverse(self) -> None:
        self._table.reverse()

    def action_interval(self, step: int) -> None:
        """The next of INTERVALS_S that is longer, or shorter."""
        index = (
            bisect_right(INTERVALS_S, self._interval_s)
            if step > 0
            else bisect_left(INTERVALS_S, self._interval_s) - 1
        )
        if 0 <= index < len(INTERVALS_S):
            self._interval_s = INTERVALS_S[index]
            self._changed.set()
            self._show_heading()

    def action_table(self, number: int) -> None:
        self.query_one(TabbedContent).active = _pane(number)

    def _terminate(self) -> None:
        self.exit(return_code=TERMINATED)


def _pane(number: int) -> str:
    return f"table-{number}"
