"""A cluster's status for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def show_status(found: dict[str, Any], console: Console) -> None:
    """Print what read_status found: shards, workers, models, functions, the monitor, and a key to try."""
    _print(
        console,
        ("port", "role", "hash tag", "slots", "keys", "server"),
        (
            (
                server["port"],
                server["role"] or "?",
                server["hash_tag"] or "",
                " ".join(f"{first}-{last}" for first, last in server["slots"]),
                "" if server["keys"] is None else server["keys"],
                server["version"] if server["answers"] else "does not answer",
            )
            for server in found["shards"]
        ),
    )
    _print(
        console,
        ("worker", "of", "state", "pid", "restarts"),
        (
            (
                worker["role"],
                worker["port"] or "this host",
                worker.get("state", ""),
                worker.get("pid") or "",
                worker.get("restarts", ""),
            )
            for worker in found["workers"]
        ),
    )
    _print(
        console,
        ("model", "shard", "backend", "device", "runs", "errors"),
        (
            (
                model["key"],
                model["port"],
                model.get("backend", ""),
                model.get("device", ""),
                model.get("calls", ""),
                model.get("errors", ""),
            )
            for model in found["models"]
        ),
    )
    _print(
        console,
        ("function", "on", "mode", "shards", "runs", "failures"),
        (
            (
                function["session"],
                function["prefix"],
                function["mode"],
                len(function["ports"]),
                function["triggered"],
                function["failures"],
            )
            for function in found["functions"]
        ),
    )
    _print(
        console,
        ("monitor", "at", "state", "pid"),
        (
            (part["name"], part["url"], "running" if part["pid"] else "missing", part["pid"] or "")
            for part in found["monitor"]
        ),
    )
    if found["sample_key"]:
        console.print(
            f'Try: redis-cli -c -p {found["port"]} GET "{escape(found["sample_key"])}"', soft_wrap=True
        )


def _print(console: Console, titles: tuple[str, ...], rows: Any) -> None:
    """One table; nothing where it has no rows."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    if table.row_count:
        console.print(table)
        console.print()
