"""`keymiss doctor`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from ..cli.console import plain_console
from ..cli.options import folder_option, port_option_for
from .check import DEFECT, Check, Group, Outcome, Place, Result, examine, fail

GROUPS = "keymiss.checks"  # entry points, each a Group
COLOURS = {Outcome.OK: "green", Outcome.WARN: "yellow", Outcome.FAIL: "red"}

console = plain_console()


@click.command()
@click.argument("groups", nargs=-1, metavar="[GROUP]...")
@folder_option
@port_option_for("Look at the cluster of this server instead.")
@click.option(
    "--server", help="A redis-server or valkey-server.  [default: the cluster's, or the one installed]"
)
@click.option("--json", "as_json", is_flag=True, help="For programs: docs/operations.md lists the fields.")
def doctor(
    groups: tuple[str, ...], folder: Path, port: int | None, server: str | None, as_json: bool
) -> None:
    """Check the installation, the machine, the servers and the cluster, or only the GROUPs that are named,
    and say how to mend what is wrong.

    Exits with 1 where something is."""
    results = examine(_chosen(groups), Place(folder.absolute(), port, server))
    if as_json:
        found = list(results)
        click.echo(json.dumps([_value(result) for result in found], indent=2))
    else:
        found = _show(results)
    raise SystemExit(1 if any(one.finding.outcome is Outcome.FAIL for one in found) else 0)


def _chosen(names: tuple[str, ...]) -> Iterator[Group[Any]]:
    """Those of installed packages, or of these the ones that are named; one that cannot be imported is a
    group that fails."""
    found = sorted(entry_points(group=GROUPS), key=lambda entry: _ORDER.get(entry.name, len(_ORDER)))
    unknown = set(names) - {entry.name for entry in found}
    if unknown:
        known = ", ".join(entry.name for entry in found)
        raise click.UsageError(f"no group {', '.join(sorted(unknown))}: there are {known}")
    for entry in found:
        if names and entry.name not in names:
            continue
        try:
            yield entry.load()
        except Exception as error:
            said = f"{entry.value} cannot be loaded: {type(error).__name__}: {error}"
            look = Check(entry.name, lambda place, said=said: [fail(said, DEFECT)])  # type: ignore[misc]
            yield Group(entry.name, lambda place: place, [look])


_ORDER = {name: place for place, name in enumerate(("installation", "machine", "servers", "cluster"))}


def _value(result: Result) -> dict[str, str]:
    finding = result.finding
    return {
        "group": result.group,
        "check": result.check,
        "outcome": finding.outcome.value,
        "found": finding.found,
        "mend": finding.mend,
    }


def _show(results: Iterable[Result]) -> list[Result]:
    """Print each as it comes; returns all of them."""
    shown: list[Result] = []
    for result in results:
        if not shown or shown[-1].group != result.group:
            console.print(result.group, style="bold")
        outcome, finding = result.finding.outcome, result.finding
        console.print(
            Text.assemble(
                "  ", (f"{outcome.value:4}", COLOURS[outcome]), f"  {result.check:18}{finding.found}"
            ),
            soft_wrap=True,
        )
        if finding.mend:
            console.print(f"{'':8}-> {finding.mend}", soft_wrap=True)
        shown.append(result)
    counted = Counter(result.finding.outcome for result in shown)
    console.print(", ".join(f"{counted[outcome]} {outcome.value}" for outcome in Outcome) + ".")
    return shown
