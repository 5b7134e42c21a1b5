"""Settings of servers that run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    have = configured(node, settings)
    with closing(connect(HOST, node.port, TIMEOUT_S)) as client:
        for name, value in settings.items():
            if have.get(name) != value:
                client.config_set(name, value)


def configured(node: Node, names: Iterable[str]) -> dict[str, str]:
    """The values that the server has now, of those names that it knows; none where it does not run."""
    if processes.running_pid(node.pid_file) is None:
        return {}
    with closing(connect(HOST, node.port, TIMEOUT_S)) as client:
        told = [client.config_get(name) for name in names]
    return {text_of(name): text_of(value) for have in told for name, value in have.items()}
