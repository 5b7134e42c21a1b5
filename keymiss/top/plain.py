"""All figures once, as text or as one JSON object. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from .figures import Figures, Row
from .tables import TABLES, TOTALS, Column


def as_json(figures: Figures) -> str:
    """One object: `complete`, `totals`, and a list of rows for each table."""
    return json.dumps({"complete": figures.complete, **asdict(figures)}, indent=2, allow_nan=False)


def as_text(figures: Figures) -> str:
    """One table after the other; without columns that have no figures, and tables that have none."""
    totals = figures.totals
    heading = f"{totals['server'] or 'no server'}, {totals['servers_up']} of {totals['servers']} servers up"
    blocks = [heading, _text(TOTALS, [totals])]
    blocks += [
        f"{table.title}\n{text}" for table in TABLES if (text := _text(table.columns, table.of(figures)))
    ]
    return "\n\n".join(filter(None, blocks))


def _text(columns: Iterable[Column], rows: Sequence[Row]) -> str:
    shown = [column for column in columns if any(row[column.figure] not in (None, "") for row in rows)]
    if len(shown) < 2:  # the names alone
        return ""
    cells = [[column.title for column in shown], *([column.cell(row) for column in shown] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column.unit else cell.ljust(width)
            for cell, width, column in zip(line, widths, shown, strict=True)
        ).rstrip()
        for line in cells
    )
