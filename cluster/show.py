"""A cluster's status for people."""

from __future__ import annotations

from collections.abc import Iterable
from shlex import quote
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table

Part: TypeAlias = dict[str, Any]  # what read_status found of one thing
Row: TypeAlias = tuple[object, ...]


def show_status(found: dict[str, Any], console: Console) -> None:
    """Print what read_status found: shards, workers, models, functions, the monitor, and a key to try."""
    tables = (
        (("port", "role", "hash tag", "slots", "keys", "server"), map(_shard, found["shards"])),
        (("worker", "of", "state", "pid", "restarts"), map(_worker, found["workers"])),
        (("model", "shard", "backend", "device", "runs", "errors"), map(_model, found["models"])),
        (("function", "on", "mode", "shards", "runs", "failures"), map(_function, found["functions"])),
        (("monitor", "at", "state", "pid"), map(_monitor, found["monitor"])),
    )
    for titles, rows in tables:
        _print(console, titles, rows)
    if found["sample_key"]:
        key = quote(found["sample_key"])
        console.print(f"Try: redis-cli -c -p {found['port']} GET {key}", soft_wrap=True)


def _shard(server: Part) -> Row:
    slots = " ".join(f"{first}-{last}" for first, last in server["slots"])
    keys = "" if server["keys"] is None else server["keys"]
    version = server["version"] if server["answers"] else "does not answer"
    return server["port"], server["role"] or "?", server["hash_tag"] or "", slots, keys, version


def _worker(worker: Part) -> Row:
    whose = worker["role"], worker["port"] or "this host"
    return *whose, worker.get("state", ""), worker.get("pid") or "", worker.get("restarts", "")


def _model(model: Part) -> Row:
    told = (model.get(name, "") for name in ("backend", "device", "calls", "errors"))
    return model["key"], model["port"], *told


def _function(function: Part) -> Row:
    where = function["session"], function["prefix"], function["mode"], len(function["ports"])
    return *where, function["triggered"], function["failures"]


def _monitor(part: Part) -> Row:
    return part["name"], part["url"], "running" if part["pid"] else "missing", part["pid"] or ""


def _print(console: Console, titles: Iterable[str], rows: Iterable[Row]) -> None:
    """One table; nothing where it has no rows."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title)
    for row in rows:
        table.add_row(*map(str, row))
    if table.row_count:
        console.print(table)
        console.print()
