"""Settings of servers that run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from keymiss.client import connect, text_of

from . import processes
from .layout import Node

HOST = "127.0.0.1"
TIMEOUT_S = 5.0


def configure(node: Node, settings: Mapping[str, str]) -> None:
    """Change those of the server that differ, where it runs. redis.RedisError where it does not take one."""
    if processes.running_pid(node.pid_file) is None:
        return
    with closing(connect(HOST, node.port, TIMEOUT_S)) as client:
        for name, value in settings.items():
            if [text_of(have) for have in client.config_get(name).values()] != [value]:
                client.config_set(name, value)
