"""One table on the screen, which may be sorted by any column."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text
from textual.coordinate import Coordinate
from textual.message import Message
from textual.widgets import DataTable

from .figures import Row
from .tables import Column, Table, key_of, ordered

_STATES = {"up": "green", "ready": "green", "loading": "yellow", "starting": "yellow"}
_TROUBLE = {"down": "bold red", "error": "bold red", "paused": "bold red"}


def style_of(column: Column, row: Row) -> str:
    """How a cell stands out."""
    value = row[column.figure]
    if column.figure == "state":
        return (_STATES | _TROUBLE).get(str(value), "")
    if column.bad and isinstance(value, (int, float)) and value > 0:
        return "bold red"
    return "dim" if _TROUBLE.get(str(row.get("state"))) else ""


class TableView(DataTable[Text]):
    """Shows rows of `table`, in the order that they come in until a column is chosen to sort by."""

    class Ordered(Message):
        """Another order was chosen."""

    def __init__(self, table: Table) -> None:
        super().__init__(cursor_type="row", zebra_stripes=True, fixed_columns=1)
        self.table = table
        self._by: Column | None = None
        self._reversed = False
        self._keys: list[str] = []  # of the rows that are shown

    def on_mount(self) -> None:
        for column in self.table.columns:
            self.add_column(_text(column, column.title))

    @property
    def order(self) -> str:
        """What it is sorted by, in words."""
        return f"by {self._by.title}{', reversed' if self._reversed else ''}" if self._by else ""

    def sort_next(self, step: int) -> None:
        """Sort by the next column, or for -1 by the one before; beyond the last and the first one: not at
        all."""
        choices = [None, *self.table.columns]
        self._choose(choices[(choices.index(self._by) + step) % len(choices)], self._reversed)

    def reverse(self) -> None:
        self._choose(self._by, not self._reversed)

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        chosen = self.table.columns[event.column_index]
        self._choose(chosen, self._by is chosen and not self._reversed)

    def show(self, rows: Iterable[Row]) -> None:
        """Show these rows. The cursor stays on its row, and what is in view in view."""
        rows = ordered(rows, self._by.figure if self._by else None, self._reversed)
        keys = [key_of(self.table, row) for row in rows]
        cells = [
            [_text(column, column.cell(row), style_of(column, row)) for column in self.table.columns]
            for row in rows
        ]
        if keys != self._keys:
            self._replace(keys, cells)
            return
        for y, line in enumerate(cells):
            for x, cell in enumerate(line):
                if self.get_cell_at(Coordinate(y, x)) != cell:
                    self.update_cell_at(Coordinate(y, x), cell, update_width=True)

    def _replace(self, keys: list[str], cells: list[list[Text]]) -> None:
        under_cursor = self._keys[self.cursor_row] if self._keys else None
        x, y = self.scroll_offset
        self.clear()
        for line in cells:
            self.add_row(*line)
        self._keys = keys
        if under_cursor in keys:
            self.move_cursor(row=keys.index(under_cursor), scroll=False)
        self.scroll_to(x, y, animate=False)

    def _choose(self, by: Column | None, reverse: bool) -> None:
        self._by, self._reversed = by, reverse
        self.post_message(self.Ordered())


def _text(column: Column, written: str, style: str = "") -> Text:
    """Words to the left, numbers to the right."""
    return Text(written, style, justify="right" if column.unit else "left")
