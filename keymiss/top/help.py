"""The help screen: keys, and what the columns of the table in view mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.table import Table as Grid
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from .tables import Table

KEYS = (
    ("1 ... 6, Tab", "the tables; arrow keys, PageUp, PageDown and Home move in one"),
    ("s  S", "sort by the next column, or by the one before; so does a click on a column's title"),
    ("r", "the other way round"),
    ("+  -", "read less often, or more often"),
    ("p  Space", "pause, and go on"),
    ("?  F1  h", "this help"),
    ("q  Ctrl+C", "quit"),
)


class Help(ModalScreen[None]):
    """What can be done, and what `table` shows. Any of the keys that brought it closes it."""

    CSS = """
    Help { align: center middle; }
    Help VerticalScroll {
        width: 90%; max-width: 110; height: 90%; border: round $accent; background: $surface; padding: 0 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,question_mark,f1,h,q,enter", "dismiss", "Close"),
    ]

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.table = table

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(_grid(KEYS))
            yield Static(Text(f"\n{self.table.title}\n", "bold"))
            yield Static(_grid((column.title, column.help) for column in self.table.columns))
            yield Static(Text("\nEscape closes this.", "dim"))


def _grid(rows: Iterable[tuple[str, str]]) -> Grid:
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for name, text in rows:
        grid.add_row(Text(name, "bold"), Text(text))
    return grid
