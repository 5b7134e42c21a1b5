"""Results: a table to read, JSON to keep, a picture where matplotlib is installed."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path

import redis
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Rates at the clients that the conditions name, latencies at one client; in milliseconds.
COLUMNS = ["request", "requests/s", "of plain", "p50 ms", "p99 ms"]


@dataclass(frozen=True)
class Promise:
    """A claim and whether this run bears it out."""

    text: str
    measured: float
    holds: bool


@dataclass
class Report:
    """One benchmark's results. Every row has a cell for every column; the first column names the row."""

    name: str
    title: str
    columns: list[str]
    conditions: dict[str, str]
    rows: list[dict[str, str | float | None]] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)  # what others look for in the JSON, by name

    def add(self, *cells: str | float | None) -> None:
        self.rows.append(dict(zip(self.columns, cells, strict=True)))

    def show(self, console: Console) -> None:
        table = Table(title=self.title)
        for n, column in enumerate(self.columns):
            table.add_column(column, justify="right" if n else "left")
        for row in self.rows:
            table.add_row(*(_cell(row[column]) for column in self.columns))
        console.print(table)
        for promise in self.promises:
            verdict = ("holds", "green") if promise.holds else ("does not hold", "red")
            console.print(Text.assemble(f"{promise.text}: {promise.measured:.3f}, ", verdict))
        console.print(", ".join(f"{name} {value}" for name, value in self.conditions.items()), style="dim")

    def to_json(self) -> str:
        """Everything, the figures at the top."""
        fields = asdict(self)
        return json.dumps(fields.pop("figures") | fields, indent=2)

    def save(self, folder: Path) -> list[Path]:
        """Write `<name>.json`, and `<name>.png` where matplotlib is installed; returns what was written."""
        folder.mkdir(parents=True, exist_ok=True)
        written = [folder / f"{self.name}.json"]
        written[0].write_text(self.to_json() + "\n")
        picture = folder / f"{self.name}.png"
        if self._draw(picture):
            written.append(picture)
        return written

    def _draw(self, path: Path) -> bool:
        """A bar a row, of the first column of rates. False where matplotlib is not installed."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return False
        rate = next(column for column in self.columns if isinstance(self.rows[0][column], float))
        drawn = [
            (", ".join(str(row[column]) for column in self.columns[: self.columns.index(rate)]), row[rate])
            for row in self.rows
        ]
        bars = [(name, value) for name, value in drawn if isinstance(value, float)]
        figure = Figure(figsize=(8, 0.5 * len(bars) + 1.5), layout="constrained")
        axes = figure.add_subplot(title=self.title, xlabel=rate)
        axes.barh([name for name, _ in bars], [value for _, value in bars])
        axes.invert_yaxis()
        figure.savefig(path, dpi=150)
        return True


def conditions_of(client: redis.Redis, clients: int, rounds: int) -> dict[str, str]:
    """What a reader must know to judge the numbers."""
    info = client.info("server")
    name = "valkey" if "valkey_version" in info else "redis"
    version = info.get("valkey_version", info["redis_version"])
    counted = {"clients": f"{clients} for rates, 1 for latencies"}
    return {"server": f"{name} {version}"} | machine_conditions(rounds) | counted


def machine_conditions(rounds: int) -> dict[str, str]:
    """What a reader must know where there is no server."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "rounds": str(rounds),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3f}"
    return str(value)
