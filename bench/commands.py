"""`keymiss bench <name>`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from . import miss, overhead
from .report import Report

ROUNDS, SECONDS = 7, 2.0
QUICK_ROUNDS, QUICK_SECONDS = 1, 0.2

_server = click.option(
    "--server", help="The redis-server or valkey-server to measure; the one on the PATH otherwise."
)
_quick = click.option(
    "--quick", is_flag=True, help="One short round: shows the table, says nothing about speed."
)
_out = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the JSON and, with matplotlib, the PNG.",
)


@click.group()
def bench() -> None:
    """Measure what the README claims, with a plain server beside it in the same run."""


@bench.command("overhead")
@_server
@_quick
@_out
def overhead_command(server: str | None, quick: bool, out: Path | None) -> None:
    """What the module costs commands that it does not hook, and a hooked GET that hits."""
    _finish(overhead.measure(server, *_effort(quick)), out)


@bench.command("miss")
@_server
@_quick
@_out
def miss_command(server: str | None, quick: bool, out: Path | None) -> None:
    """What a GET costs that misses and is answered by a function."""
    _finish(miss.measure(server, *_effort(quick), question=None), out)


def _effort(quick: bool) -> tuple[int, float]:
    return (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)


def _finish(report: Report, out: Path | None) -> None:
    console = Console()
    report.show(console)
    for path in report.save(out) if out else []:
        console.print(f"written: {path}")
