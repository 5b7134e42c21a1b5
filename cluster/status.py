"""What a cluster looks like now, as one value that is JSON; docs/cluster.md lists its fields."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict
from typing import Any

import redis

from keymiss.client import Address, Shard, connect, find_shards, read_registrations, text_of
from keymiss.client.where import PASSWORD
from keymiss.keys import TOKENS_PREFIX, Paragraph, processed_key, samples_key

from . import monitor, processes
from .layout import Layout
from .lifecycle import models_worker_pids

TIMEOUT_S = 5.0
SAMPLE_QUESTION = "What is this about?"
COUNTS = ("triggered", "succeeded", "failures")  # of a registration, on each shard

Value = dict[str, Any]


def read_status(layout: Layout | None, port: int | None) -> Value:
    """The state of the cluster of `layout`, or of the one that the server on `port` belongs to.

    Servers that do not answer are listed as such. redis.ConnectionError where there is no layout and nobody
    answers, or none without another password."""
    candidates = [port] if port is not None else [node.port for node in layout.nodes] if layout else []
    host = "127.0.0.1" if layout else Address().host
    try:
        known = find_shards([Address(host, one) for one in candidates], TIMEOUT_S)
    except (redis.ConnectionError, redis.TimeoutError) as error:
        if layout is None and isinstance(error, redis.AuthenticationError):
            raise redis.AuthenticationError(
                f"{host}:{port}: {error} ({PASSWORD} names the password)"
            ) from error
        if layout is None:
            raise redis.ConnectionError(f"no server answers on {host}:{port}") from error
        known = []
    servers = [server for shard in known for server in _servers(shard)]
    if layout is not None:
        _add_processes(servers, layout)
    with_module = [server for server in servers if server["answers"] and server["module"]]
    return {
        "folder": str(layout.folder) if layout else None,
        "port": layout.port if layout else port,
        "complete": bool(servers) and all(server["answers"] for server in servers),
        "server": next((server["version"] for server in servers if server["version"]), None),
        "shards": servers,
        "workers": _workers(with_module, layout),
        "models": _models(with_module),
        "functions": _functions(with_module),
        "monitor": monitor.state(layout) if layout else [],
        "sample_key": _sample_key(known),
    }


def _servers(shard: Shard) -> list[Value]:
    """The shard's master and its replicas."""
    servers = []
    for host, port in ((shard.host, shard.port), *shard.replicas):
        role = "master" if (host, port) == (shard.host, shard.port) else "replica"
        server = _server(host, port, role, shard.hash_tag, [list(slots) for slots in shard.slots])
        with closing(connect(host, port, TIMEOUT_S)) as client:
            try:
                info = client.info("server")
                modules = client.execute_command("MODULE", "LIST")
                server |= {"answers": True, "version": _version(info), "keys": client.dbsize()}
                server["module"] = any(b"keymiss" in module for module in modules)
            except redis.RedisError as error:
                server["error"] = str(error)
        servers.append(server)
    return servers


def _server(host: str, port: int, role: str | None, hash_tag: str | None, slots: list[list[int]]) -> Value:
    server: Value = {"host": host, "port": port, "role": role, "hash_tag": hash_tag, "slots": slots}
    return server | {"answers": False, "version": None, "keys": None, "module": False}


def _version(info: Value) -> str:
    if "valkey_version" in info:
        return f"valkey {info['valkey_version']}"
    return f"redis {info['redis_version']}"


def _add_processes(servers: list[Value], layout: Layout) -> None:
    """Names, pids and logs of this host's servers; those that stand in no slot map are added."""
    by_port = {server["port"]: server for server in servers}
    for node in layout.nodes:
        server = by_port.get(node.port)
        if server is None:
            server = _server("127.0.0.1", node.port, None, None, [])
            servers.append(server)
        server |= {"name": node.name, "pid": processes.running_pid(node.pid_file), "log": str(node.log)}


def _workers(servers: Iterable[Value], layout: Layout | None) -> list[Value]:
    """The workers as their servers see them (INFO keymiss), and the shared models worker as a process."""
    workers: list[Value] = []
    for server in servers:
        info = _ask(server, lambda client: client.info("keymiss"), {})
        for role in ("functions", "models"):
            state = info.get(f"keymiss_{role}_worker")
            if isinstance(state, dict):
                error = info.get(f"keymiss_{role}_last_error") or None
                workers.append({"role": role, "port": server["port"], **state, "last_error": error})
    if layout is not None and layout.module is not None and layout.shared_models:
        keeper, worker = models_worker_pids(layout)
        workers.append(
            {
                "role": "models",
                "port": None,
                "state": "shared" if worker else "missing",
                "pid": worker,
                "keeper_pid": keeper,
                "socket": str(layout.models_socket),
                "log": str(layout.models_log),
            }
        )
    return workers


def _models(servers: Iterable[Value]) -> list[Value]:
    """The models at the keys of each master, with what AI.INFO counts of their runs."""
    models = []
    for server in servers:
        if server["role"] == "master":
            for key, tag in _ask(server, lambda client: client.execute_command("AI._MODELSCAN"), []):
                info = _ask(server, lambda client, key=key: client.execute_command("AI.INFO", key), [])
                counted = {
                    text_of(name): _plain(value) for name, value in zip(info[::2], info[1::2], strict=False)
                }
                models.append({"key": text_of(key), "tag": text_of(tag), "port": server["port"], **counted})
    return models


def _functions(servers: Iterable[Value]) -> list[Value]:
    """The registrations of the masters, one entry a session, prefix and description, with the ports that
    have it and sums of counts."""
    found: dict[tuple[str, str, str, str], Value] = {}
    for server in servers:
        if server["role"] == "master":
            for function in _ask(server, read_registrations, []):
                entry = found.setdefault(
                    (function.session, function.reader, function.prefix, function.description),
                    asdict(function) | dict.fromkeys(COUNTS, 0) | {"ports": []},
                )
                for count in COUNTS:
                    entry[count] += getattr(function, count)
                entry["ports"].append(server["port"])
    return list(found.values())


def _sample_key(shards: Iterable[Shard]) -> str | None:
    """A question key that answers: of the corpus's own questions the first, else any question on any
    paragraph."""
    spare = None
    for shard in shards:
        with closing(shard.connect(TIMEOUT_S)) as client:
            try:
                samples: Any = client.hscan(samples_key(shard.hash_tag))[1]
                if samples:
                    return text_of(min(samples.items())[1])
                spare = spare or _any_question(client, shard.hash_tag)
            except redis.RedisError:
                continue
    return spare


def _any_question(client: redis.Redis, tag: str) -> str | None:
    members = client.sscan(processed_key(tag))[1]
    suffix = f":{{{tag}}}:"
    for member in sorted(map(text_of, members)):
        article, found, number = member.removeprefix(TOKENS_PREFIX).rpartition(suffix)
        if found:
            return Paragraph(article, tag, number).question_key(SAMPLE_QUESTION)
    return None


def _ask(server: Value, question: Any, otherwise: Any) -> Any:
    """The server's reply, or `otherwise` where it gives an error: a worker that is down is told of
    elsewhere."""
    with closing(connect(server["host"], server["port"], TIMEOUT_S)) as client:
        try:
            return question(client)
        except redis.RedisError:
            return otherwise


def _plain(value: Any) -> Any:
    return value if isinstance(value, int) else text_of(value)
