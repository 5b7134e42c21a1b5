"""Where the servers are: told, or read from what `keymiss up` left behind."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_FOLDER = ".keymiss"
DEFAULT_PORT = 30001
PASSWORD = "KEYMISS_PASSWORD"
STATE_FILE = "cluster.json"  # in the folder of `keymiss up`: its options, as cluster/layout.py has them


@dataclass(frozen=True)
class Address:
    """A server of the cluster (any of them), or a standalone one."""

    host: str = os.environ.get("KEYMISS_HOST", "127.0.0.1")
    port: int = DEFAULT_PORT


def credentials() -> dict[str, Any]:
    """Who asks: the user and the password that the environment names, where it does."""
    return {"username": os.environ.get("KEYMISS_USER"), "password": os.environ.get(PASSWORD)}


def find_servers(folder: Path, port: int | None = None) -> list[Address]:
    """The server on `port` where one is given; else those of the cluster in `folder`, all of them, for who
    asks although the first is down; else port 30001."""
    state = read_state(folder) if port is None else None
    if state is None:
        return [Address(port=port or DEFAULT_PORT)]
    servers = int(state.get("shards", 1)) * (1 + int(state.get("replicas", 0)))
    return [Address(port=int(state["port"]) + n) for n in range(servers)]


def read_state(folder: Path) -> Any:
    """What `keymiss up` wrote of the cluster in `folder`; None where there is none. ValueError where it is
    damaged."""
    state = folder / STATE_FILE
    return json.loads(state.read_text()) if state.is_file() else None
