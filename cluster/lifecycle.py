"""Bringing a cluster up and taking it down."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import redis

from keymiss.client import connect
from keymiss.client.where import PASSWORD

from . import monitor, processes, topology
from .configure import configure, configured
from .errors import UpError
from .layout import Layout, Node, read_layout
from .monitor_files import metrics_settings
from .ready import StillLoading, check_free, wait_for_answer

FORM_DEADLINE_S = 60.0
STOP_DEADLINE_S = 15.0
PING_TIMEOUT_S = 5.0

Say = Callable[[str], None]
T = TypeVar("T")


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
        check_free(node.port, f"port {node.port} of {node.name}", "--port")
        check_free(node.bus_port, f"cluster bus port {node.bus_port} of {node.name}", "--port")
    if layout.monitor is not None:
        monitor.check(layout, layout.monitor)
    layout.save()
    started = _start_models_worker(layout, say)
    for node in missing:
        _start_server(layout, node)
    for node in layout.nodes:  # also those that an earlier call started, and that load their data still
        _wait_for_answer(node, say)
        if node in missing:
            say(f"started {node.name} on port {node.port}")
    try:
        topology.form(layout, FORM_DEADLINE_S)
    except (topology.NotFormed, redis.RedisError) as error:
        raise UpError(
            f"the servers run but do not make a cluster: {error}. `keymiss doctor` says more, and so do "
            f"their logs, {layout.folder}/shard-*/server.log"
        ) from error
    started += [node.name for node in missing]
    if layout.monitor is not None:
        for part in monitor.start(layout, layout.monitor):
            say(f"started {part}")
            started.append(part)
    return started


@contextmanager
def changed_settings(layout: Layout, settings: Mapping[str, str]) -> Iterator[Layout]:
    """The cluster with these settings, to be brought up: its servers that run have them now, others start
    with them. UpError where one does not take them.

    Where what is done with it fails, those that ran, and a cluster.json that was there, have again what they
    had: the next `up` is not to fail by these settings, too. Nor are those kept with which no server of a new
    cluster came up."""
    existing = read_layout(layout.folder)
    had = {node: _asked(node, configured, settings) for node in layout.nodes}
    try:
        for node in layout.nodes:
            _asked(node, partial(_change, layout), settings)
        yield layout.changed(settings={**layout.settings, **settings})
    except BaseException:
        for node, values in had.items():
            with suppress(redis.RedisError):
                configure(node, values)
        if existing is not None or not any(map(_is_up, layout.nodes)):
            _save_settings(layout)
        raise


def _save_settings(former: Layout) -> None:
    """Nothing else of what is saved changes: the monitor that a failed `up` turned on stays."""
    saved = read_layout(former.folder)
    if saved is not None and saved.settings != former.settings:
        saved.changed(settings=former.settings).save()


def _is_up(node: Node) -> bool:
    with closing(connect("127.0.0.1", node.port, PING_TIMEOUT_S)) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def _change(layout: Layout, node: Node, settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        try:
            configure(node, {name: value})
        except redis.ResponseError:
            if layout.settings.get(name) != value:  # else it has started with it
                raise


def _asked(node: Node, question: Callable[[Node, Mapping[str, str]], T], settings: Mapping[str, str]) -> T:
    """What comes of asking a server about its settings. UpError, in words, where that fails."""
    try:
        return question(node, settings)
    except redis.ResponseError as error:
        raise UpError(
            f"{node.name} does not take that while it runs: {error}. What servers take only when they "
            "start, they get from `keymiss down`, then `keymiss up` with the same --set"
        ) from error
    except redis.AuthenticationError as error:
        raise _password_refused(error) from error
    except redis.RedisError as error:
        raise UpError(f"{node.name} runs and cannot be told its settings: {error}") from error


def take_down(layout: Layout, delete: bool) -> list[str]:
    """Stop every process of the cluster, and with `delete` remove all that is its own; returns the names of
    what ran."""
    servers = {node.pid_file: node.name for node in layout.nodes}
    worker = {layout.models_keeper_pid_file: "models worker", layout.models_pid_file: "models worker"}
    stopped = monitor.stop(layout)
    stopped += [servers[pid_file] for pid_file in processes.stop(list(servers), STOP_DEADLINE_S)]
    # The keeper first: it ends its worker itself, and would otherwise start it again.
    stopped_workers = [processes.stop([pid_file], STOP_DEADLINE_S) for pid_file in worker]
    if any(stopped_workers):
        stopped.append("models worker")
    layout.models_socket.unlink(missing_ok=True)
    if layout.models_socket.parent != layout.models_folder:
        with suppress(OSError):  # not there, or not ours alone
            layout.models_socket.parent.rmdir()
    if delete:
        _remove(layout)
    return stopped


def _remove(layout: Layout) -> None:
    for path in layout.contents:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def models_worker_pids(layout: Layout) -> tuple[int | None, int | None]:
    """The pids of the shared models worker's keeper and of the worker; None for what does not run."""
    return processes.running_pid(layout.models_keeper_pid_file), processes.running_pid(layout.models_pid_file)


def _start_server(layout: Layout, node: Node) -> None:
    node.folder.mkdir(parents=True, exist_ok=True)
    lines = (f"{name} {_quoted(value)}\n" for name, value in _settings(layout, node))
    node.configuration.write_text("".join(lines))
    try:
        processes.start_detached([layout.server, node.configuration], node.log, node.pid_file)
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
        ("repl-ping-replica-period", "1"),  # a replica is in slot maps once something came from its master
        ("shutdown-timeout", "3"),
    ]
    if layout.module is not None:
        settings += [
            ("loadmodule", layout.module),
            ("keymiss.python", sys.executable),
            ("keymiss.models-dir", str(layout.blobs_folder)),
            ("keymiss.shard-name", node.name),
        ]
        if layout.shared_models:
            settings.append(("keymiss.models", f"unix:{layout.models_socket}"))
        if layout.monitor is not None:
            settings += metrics_settings(layout, layout.monitor, layout.nodes.index(node)).items()
    return settings + list(layout.settings.items())


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _is_older(pid_file: Path, module: str | None) -> bool:
    """Whether the running server was started before its module was built."""
    return module is not None and pid_file.stat().st_mtime < Path(module).stat().st_mtime


def _wait_for_answer(node: Node, say: Say) -> None:
    with closing(connect("127.0.0.1", node.port, timeout_s=PING_TIMEOUT_S)) as client:
        answers, where = partial(_answers, client), f"port {node.port}"
        wait_for_answer(node.name, answers, where, node.log, node.pid_file, say)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.BusyLoadingError as error:
        raise StillLoading from error
    except redis.AuthenticationError as error:
        raise _password_refused(error) from error
    except (redis.ConnectionError, redis.TimeoutError):
        return False


def _password_refused(error: redis.AuthenticationError) -> UpError:
    return UpError(f"{error} These servers have no password: unset {PASSWORD}")


def _start_models_worker(layout: Layout, say: Say) -> list[str]:
    if (
        layout.module is None
        or not layout.shared_models
        or processes.running_pid(layout.models_keeper_pid_file) is not None
    ):
        return []
    processes.stop([layout.models_pid_file], STOP_DEADLINE_S)  # left behind where its keeper was killed
    layout.models_folder.mkdir(parents=True, exist_ok=True)
    layout.models_socket.parent.mkdir(mode=0o700, exist_ok=True)
    path = layout.models_socket
    program: list[str | Path] = [sys.executable, "-m", "keymiss.inference", "--listen", path]
    keeper = [sys.executable, "-m", f"{__package__}.keeper", layout.models_pid_file, *program]
    processes.start_detached(keeper, layout.models_log, layout.models_keeper_pid_file)
    wait_for_answer("the models worker", partial(_listens, path), str(path), layout.models_log)
    say("started the models worker of this host")
    return ["models worker"]


def _listens(path: Path) -> bool:
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.connect(os.fspath(path))
    return True
