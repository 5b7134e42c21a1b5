"""A cluster's status for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def show_status(found: dict[str, Any], console: Console) -> None:
    """Print what read_status found, shards first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("port", "role", "hash tag", "slots", "keys", "server"):
        table.add_column(title, justify="right" if title in {"port", "keys"} else "left")
    for server in found["shards"]:
        slots = " ".join(f"{first}-{last}" for first, last in server["slots"])
        state = server["version"] if server["answers"] else "[red]does not answer[/red]"
        keys = "" if server["keys"] is None else str(server["keys"])
        table.add_row(
            str(server["port"]), server["role"] or "?", server["hash_tag"] or "", slots, keys, state
        )
    console.print(table)
