"""Where the servers are: told, or read from what `keymiss up` left behind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

DEFAULT_FOLDER = ".keymiss"
DEFAULT_PORT = 30001
STATE_FILE = "cluster.json"  # in the folder of `keymiss up`; docs/cluster.md lists its fields


@dataclass(frozen=True)
class Address:
    """A server of the cluster (any of them), or a standalone one."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT


def find_server(folder: Path, host: str | None = None, port: int | None = None) -> Address:
    """The server to talk to: `host` and `port` where given, else the first shard of the cluster in
    `folder`, else port 30001."""
    if port is None:
        state = folder / STATE_FILE
        port = DEFAULT_PORT
        if state.is_file():
            port = int(json.loads(state.read_text())["port"])
    return Address(host or Address.host, port)
