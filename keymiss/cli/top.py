"""`keymiss top`: what a cluster is doing now, live or once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import click

from ..client import Address
from ..top.figures import Figures, compare
from ..top.plain import as_json, as_text
from ..top.reading import Reader
from .options import folder_option, port_option, servers_of

DEADLINE_S = 5.0
LIVE_DEADLINE_S = 2.0  # a view that stands still says less than one that tells who does not answer


@click.command()
@folder_option
@port_option
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    help="Seconds between two readings.",
)
@click.option("--once", is_flag=True, help="Read twice, print all tables, and end.")
@click.option(
    "--json", "as_json_", is_flag=True, help="With --once: for programs; docs/top.md lists the figures."
)
def top(folder: Path, port: int | None, interval: float, once: bool, as_json_: bool) -> None:
    """Show what every shard answers, misses and waits for, its errors, workers, models and functions.

    ? shows keys and what the columns mean. With --once, exits with 1 where a shard is down.
    """
    if as_json_ and not once:
        raise click.UsageError("--json goes with --once")
    if not once and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("this is no terminal: --once prints the figures")
    servers = servers_of(folder, port)
    if once:
        figures = asyncio.run(_twice(servers, interval))
        click.echo(as_json(figures) if as_json_ else as_text(figures))
        raise SystemExit(0 if figures.complete else 1)
    from ..top.app import Top  # slow to import

    app = Top(Reader(servers, LIVE_DEADLINE_S), interval)
    app.run()
    raise SystemExit(app.return_code or 0)


async def _twice(servers: Sequence[Address], interval: float) -> Figures:
    async with aclosing(Reader(servers, DEADLINE_S)) as reader:
        before = await reader.read()
        await asyncio.sleep(interval)
        return compare(before, await reader.read())
