"""Bringing a cluster up and taking it down."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import redis

from keymiss.client import connect

from . import processes, topology
from .layout import Layout, Node

ANSWER_DEADLINE_S = 60.0  # a server that loads a large data set answers late
FORM_DEADLINE_S = 60.0
STOP_DEADLINE_S = 15.0
POLL_S = 0.05

Say = Callable[[str], None]


class UpError(Exception):
    """The cluster could not be brought up; the text says why and what to do."""


def bring_up(layout: Layout, say: Say) -> list[str]:
    """Start what of `layout` does not run, make it one cluster, and wait until it answers; returns the
    names started.

    UpError where a port is taken, a server does not start, or the servers do not come together. What was
    started stays, so that its log can be read and the next call goes on from there."""
    missing = [node for node in layout.nodes if processes.running_pid(node.pid_file) is None]
    if any(_is_older(node.pid_file, layout.module) for node in layout.nodes if node not in missing):
        say(
            "keymiss.so was built anew since the servers started: `keymiss down`, then `keymiss up`, loads it"
        )
    for node in missing:
        _check_port(node)
    layout.save()
    started = _start_models_worker(layout, say)
    for node in missing:
        _start_server(layout, node)
    for node in missing:
        _wait_for_answer(node)
        say(f"started {node.name} on port {node.port}")
    try:
        topology.form(layout, FORM_DEADLINE_S)
    except (topology.NotFormed, redis.RedisError) as error:
        raise UpError(
            f"the servers run but do not make a cluster: {error}. Their logs are "
            f"{layout.folder}/shard-*/server.log; `keymiss down --delete` removes this cluster with its data"
        ) from error
    return started + [node.name for node in missing]


def take_down(layout: Layout, delete: bool) -> list[str]:
    """Stop every process of the cluster, and with `delete` remove its folder; returns the names of what
    ran."""
    servers = {node.pid_file: node.name for node in layout.nodes}
    worker = {_keeper_pid(layout): "models worker", _worker_pid(layout): "models worker"}
    stopped = [servers[pid_file] for pid_file in processes.stop(list(servers), STOP_DEADLINE_S)]
    # The keeper first: it ends its worker itself, and would otherwise start it again.
    stopped_workers = [processes.stop([pid_file], STOP_DEADLINE_S) for pid_file in worker]
    if any(stopped_workers):
        stopped.append("models worker")
    layout.models_socket.unlink(missing_ok=True)
    if layout.models_socket.parent != layout.models_folder:
        with suppress(OSError):  # not there, or not ours alone
            layout.models_socket.parent.rmdir()
    if delete:
        shutil.rmtree(layout.folder, ignore_errors=True)
    return stopped


def models_worker_pids(layout: Layout) -> tuple[int | None, int | None]:
    """The pids of the shared models worker's keeper and of the worker; None for what does not run."""
    return processes.running_pid(_keeper_pid(layout)), processes.running_pid(_worker_pid(layout))


def _start_server(layout: Layout, node: Node) -> None:
    node.folder.mkdir(parents=True, exist_ok=True)
    config = node.folder / "server.conf"
    config.write_text("".join(f"{name} {_quoted(value)}\n" for name, value in _settings(layout, node)))
    try:
        processes.start_detached([layout.server, config], node.log, node.pid_file)
    except OSError as error:
        raise UpError(
            f"cannot run {layout.server} ({error.strerror}): name a redis-server or valkey-server, --server"
        ) from error


def _settings(layout: Layout, node: Node) -> list[tuple[str, str]]:
    settings = [
        ("port", str(node.port)),
        ("bind", "127.0.0.1"),
        ("dir", str(node.folder)),
        ("daemonize", "no"),
        ("cluster-enabled", "yes"),
        ("cluster-config-file", "nodes.conf"),
        ("cluster-node-timeout", "5000"),
        ("cluster-port", str(node.bus_port)),
        ("appendonly", "yes"),
        ("save", ""),  # the append-only file holds everything
        ("repl-diskless-sync-delay", "0"),
        ("shutdown-timeout", "3"),
    ]
    if layout.module is not None:
        settings += [
            ("loadmodule", layout.module),
            ("keymiss.python", sys.executable),
            ("keymiss.models-dir", str(layout.blobs_folder)),
        ]
        if layout.shared_models:
            settings.append(("keymiss.models", f"unix:{layout.models_socket}"))
    return settings + list(layout.settings.items())


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _is_older(pid_file: Path, module: str | None) -> bool:
    """Whether the running server was started before its module was built."""
    return module is not None and pid_file.stat().st_mtime < Path(module).stat().st_mtime


def _check_port(node: Node) -> None:
    for port, what in ((node.port, "port"), (node.bus_port, "cluster bus port")):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise UpError(
                    f"{what} {port} of {node.name} is taken by another program ({error.strerror}); "
                    "choose other ports with --port"
                ) from error


def _wait_for_answer(node: Node) -> None:
    deadline = time.monotonic() + ANSWER_DEADLINE_S
    with closing(connect("127.0.0.1", node.port, timeout_s=5.0)) as client:
        while True:
            try:
                client.ping()
                return
            except (redis.ConnectionError, redis.TimeoutError) as error:
                if processes.running_pid(node.pid_file) is None:
                    raise UpError(
                        f"{node.name} ended at once. {node.log} ends with:\n{processes.last_lines(node.log)}"
                    ) from error
                if time.monotonic() > deadline:
                    raise UpError(
                        f"{node.name} does not answer on port {node.port}; see {node.log}"
                    ) from error
            time.sleep(POLL_S)


def _keeper_pid(layout: Layout) -> Path:
    return layout.models_folder / "keeper.pid"


def _worker_pid(layout: Layout) -> Path:
    return layout.models_folder / "worker.pid"


def _start_models_worker(layout: Layout, say: Say) -> list[str]:
    if (
        layout.module is None
        or not layout.shared_models
        or processes.running_pid(_keeper_pid(layout)) is not None
    ):
        return []
    processes.stop([_worker_pid(layout)], STOP_DEADLINE_S)  # left behind where its keeper was killed
    layout.models_folder.mkdir(parents=True, exist_ok=True)
    layout.models_socket.parent.mkdir(mode=0o700, exist_ok=True)
    program: list[str | Path] = [sys.executable, "-m", "keymiss.inference", "--listen", layout.models_socket]
    keeper: list[str | Path] = [sys.executable, "-m", f"{__package__}.keeper", _worker_pid(layout), *program]
    processes.start_detached(keeper, layout.models_log, _keeper_pid(layout))
    _wait_for_socket(layout.models_socket, layout.models_log)
    say("started the models worker of this host")
    return ["models worker"]


def _wait_for_socket(path: Path, log: Path) -> None:
    deadline = time.monotonic() + ANSWER_DEADLINE_S
    while True:
        with closing(socket.socket(socket.AF_UNIX)) as probe:
            try:
                probe.connect(os.fspath(path))
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise UpError(
                        f"the models worker does not listen. {log} ends with:\n{processes.last_lines(log)}"
                    ) from error
        time.sleep(POLL_S)
