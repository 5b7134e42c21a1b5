"""Asking every server of a cluster for its figures, all at once, within a deadline.

One connection each, kept between readings. A server that does not answer in time is told of as down and asked
anew, by a new connection, in the next reading; it holds up none of the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ..client import Address, text_of
from ..client.where import credentials
from .info import Info, parse_info
from .nodes import Node, Role, parse_nodes

SECTIONS = ("server", "memory", "persistence", "replication", "keymiss")

State: TypeAlias = Literal["up", "loading", "error", "down"]


@dataclass(frozen=True)
class Model:
    """A model at a key of a shard: what it is, and what AI.INFO counts of it there."""

    key: str
    tag: str
    backend: str
    device: str
    counts: Mapping[str, float]  # calls, samples, errors, duration (microseconds)


@dataclass(frozen=True)
class Server:
    """A server at one moment. `info` is empty where it said nothing; `error` says why."""

    address: Address
    name: str
    role: Role | None
    slots: int | None
    at: float  # seconds, of a clock that only goes forward
    state: State
    error: str = ""
    info: Info = field(default_factory=Info)
    models: Sequence[Model] = ()


Reading: TypeAlias = Mapping[Address, Server]  # in the order of their slots


@dataclass(frozen=True)
class _Answer:
    """What one server said; `nodes` is empty where it is in no cluster."""

    state: State
    error: str = ""
    info: Info = field(default_factory=Info)
    name: str = ""
    nodes: Sequence[Node] = ()
    models: Sequence[Model] = ()
    at: float = field(default_factory=time.monotonic)


class Reader:
    """Reads the cluster that `seeds` belong to, again and again. Each of its servers has `deadline_s` seconds
    to answer. To be used within one event loop, and closed there."""

    def __init__(self, seeds: Iterable[Address], deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._nodes: dict[Address, Node | None] = dict.fromkeys(seeds)
        self._names: dict[Address, str] = {}  # as last told: one that is down keeps its own
        self._clients: dict[Address, redis.asyncio.Redis] = {}

    async def read(self) -> Reading:
        """All servers now, also those that do not answer."""
        answers: dict[Address, _Answer] = {}
        while new := [address for address in self._nodes if address not in answers]:
            answers.update(zip(new, await asyncio.gather(*map(self._ask, new)), strict=True))
            self._learn(answers)
        return {address: self._server(address, answers[address]) for address in self._nodes}

    async def aclose(self) -> None:
        for address in list(self._clients):
            await self._hang_up(address)

    def _learn(self, answers: Mapping[Address, _Answer]) -> None:
        """Who is in the cluster: by the one that knows most, for one that was reset knows nobody."""
        self._names.update((address, answer.name) for address, answer in answers.items() if answer.name)
        nodes = max((answer.nodes for answer in answers.values()), key=len, default=())
        if nodes:
            self._nodes = {node.address: node for node in nodes}

    def _server(self, address: Address, answer: _Answer) -> Server:
        node = self._nodes[address]
        role = node.role if node else _ROLES.get(answer.info.fields.get("role", ""))
        return Server(
            address,
            self._names.get(address) or str(address.port),
            role,
            node.slots if node else None,
            answer.at,
            answer.state,
            answer.error,
            answer.info,
            answer.models,
        )

    async def _ask(self, address: Address) -> _Answer:
        state: State = "down"
        try:
            return await asyncio.wait_for(self._asked(address), self._deadline_s)
        except (asyncio.TimeoutError, redis.TimeoutError):
            error = f"no answer within {self._deadline_s:g} s"
        except redis.BusyLoadingError as raised:
            state, error = "loading", str(raised)
        except redis.AuthenticationError as raised:
            state, error = "error", str(raised)
        except (redis.RedisError, OSError) as raised:
            error = str(raised)
        await self._hang_up(address)  # what it may still answer is nobody's
        return _Answer(state, error)

    async def _asked(self, address: Address) -> _Answer:
        """Two round trips, the second for the models that the first found. redis.BusyLoadingError from a
        server that loads its data and lets but some of these commands pass."""
        client = self._client(address)
        info, nodes, name, keys = await _pipelined(
            client,
            ("INFO", *SECTIONS),
            ("CLUSTER", "NODES"),
            ("CONFIG", "GET", "keymiss.shard-name"),
            ("AI._MODELSCAN",),
        )
        if isinstance(info, redis.RedisError):  # it is there, and does not tell: NOPERM, BUSY
            return _Answer("error", str(info))
        told = parse_info(text_of(info))
        return _Answer(
            "loading" if told.number("loading") else "up",
            "",
            told,
            text_of(name[1]) if isinstance(name, list) and len(name) == 2 else "",
            parse_nodes(text_of(nodes), address.host) if isinstance(nodes, bytes) else (),
            await _models(client, keys) if isinstance(keys, list) else (),
        )

    def _client(self, address: Address) -> redis.asyncio.Redis:
        if address not in self._clients:
            client = redis.asyncio.Redis(
                host=address.host,
                port=address.port,
                protocol=2,
                socket_timeout=self._deadline_s,
                socket_connect_timeout=self._deadline_s,
                retry=Retry(NoBackoff(), 0),
                **credentials(),
            )
            client.response_callbacks.clear()  # replies as they are: redis-py reads texts of INFO as lists
            self._clients[address] = client
        return self._clients[address]

    async def _hang_up(self, address: Address) -> None:
        client = self._clients.pop(address, None)
        if client is not None:
            with contextlib.suppress(redis.RedisError, OSError):
                await client.aclose()


_ROLES: dict[str, Role] = {"master": "master", "slave": "replica"}


async def _models(client: redis.asyncio.Redis, keys: Sequence[Sequence[bytes]]) -> Sequence[Model]:
    """The models at these keys, those that are gone meanwhile left out."""
    models = []
    told = await _pipelined(client, *(("AI.INFO", key) for key, _ in keys)) if keys else []
    for (key, tag), pairs in zip(keys, told, strict=True):
        if isinstance(pairs, list):
            said = {text_of(name): value for name, value in zip(pairs[::2], pairs[1::2], strict=False)}
            counts = {name: float(value) for name, value in said.items() if isinstance(value, int)}
            backend, device = (text_of(said.get(name, "")) for name in ("backend", "device"))
            models.append(Model(text_of(key), text_of(tag), backend, device, counts))
    return models


async def _pipelined(client: redis.asyncio.Redis, *commands: Sequence[Any]) -> list[Any]:
    """The replies as they came, an error in the place of its own."""
    async with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        return list(await pipeline.execute(raise_on_error=False))
