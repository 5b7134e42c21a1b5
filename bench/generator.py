"""The clients, in a process of their own that takes little from the two cores of what it measures: one
event loop over sockets, with every request made before it is needed, the same for RESP and for HTTP.

`python -m keymiss_deploy.bench.generator` reads orders from its input, a JSON object a line, and answers each
by a line: what it measured, or `{"error": ...}`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any, TypeAlias

from .answered import Answered, Asking
from .dialog import Ask, answer_each, dialog

DEADLINE_S = 60.0  # for the answers that are still missing when a run's time is over
MOST_CONNECTIONS = 256  # of an open loop: more waiting than that is no service
STALE_S = 2.0  # servers close what is idle for longer
SEED = 11


@dataclass(frozen=True)
class Target:
    """A server on 127.0.0.1 with the request for each question, and the protocol of its replies."""

    port: int
    protocol: str  # resp or http
    requests: Sequence[bytes]


class Generator:
    """The parent's side of the process."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._targets: list[Target] = []  # the process knows them by their place here

    def ask(self, target: Target, asking: Asking) -> Answered:
        """Load the target, from its first question on, and round and round. RuntimeError where it answers by
        an error, or too late."""
        return self._order(target, asking=asking._asdict())

    def ask_once(self, target: Target, clients: int) -> Answered:
        """Ask each question once, and keep the answers."""
        return self._order(target, asking=Asking(0.0, clients)._asdict(), once=True)

    def _order(self, target: Target, **order: Any) -> Answered:
        if not any(target is known for known in self._targets):
            self._targets.append(target)
            requests = [request.decode("latin-1") for request in target.requests]
            self._ask({"target": {"port": target.port, "protocol": target.protocol, "requests": requests}})
        (number,) = (n for n, known in enumerate(self._targets) if known is target)
        return Answered(**self._ask({"ask": number, **order}))


@contextmanager
def generating() -> Iterator[Generator]:
    """A generator, whose process is gone at the end."""
    with dialog(__spec__.name) as ask:
        yield Generator(ask)


# The process


class Failed(Exception):
    """A server answered by an error."""


Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


async def read_resp(reader: Reader) -> bytes:
    """A bulk string; empty for nil."""
    head = await reader.readuntil(b"\r\n")
    if head[:1] != b"$":
        raise Failed(head[:300].decode(errors="replace").strip())
    size = int(head[1:])
    return (await reader.readexactly(size + 2))[:-2] if size >= 0 else b""


async def read_http(reader: Reader) -> bytes:
    """The body of an HTTP/1.1 response of known length, or in chunks."""
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines if b": " in line)
    if headers.get(b"transfer-encoding") == b"chunked":
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(headers[b"content-length"]))
    if b" 200 " not in status + b" ":
        raise Failed(f"{status.decode()}: {body[:300].decode(errors='replace')}")
    return body


PROTOCOLS: dict[str, Callable[[Reader], Awaitable[bytes]]] = {"resp": read_resp, "http": read_http}


class Run:
    """One order while it is carried out."""

    def __init__(self, target: Target, asking: Asking, once: bool) -> None:
        self._target, self._asking = target, asking
        self._read = PROTOCOLS[target.protocol]
        order = range(len(target.requests))
        self._numbers = iter(order) if once else itertools.cycle(order)
        self._keep = once
        self.latencies_ms: list[float] = []
        self.answers: dict[int, bytes] = {}

    async def run(self) -> None:
        await (self._open_loop() if self._asking.rate else self._closed_loop())

    async def _closed_loop(self) -> None:
        clients = range(self._asking.clients)
        connections = [await asyncio.open_connection("127.0.0.1", self._target.port) for _ in clients]
        end = perf_counter() + self._asking.seconds if not self._keep else float("inf")
        self.began = perf_counter()
        await asyncio.gather(*(self._client(*connection, end) for connection in connections))
        self.ended = perf_counter()
        for _, writer in connections:
            writer.close()

    async def _client(self, reader: Reader, writer: Writer, end: float) -> None:
        for number in self._numbers:
            await self._ask(number, reader, writer, perf_counter())
            if perf_counter() >= end:
                return

    async def _open_loop(self) -> None:
        """Each question at its own time. Its latency counts from then on, whenever it could be sent."""
        rng, idle = random.Random(SEED), list[tuple[float, Reader, Writer]]()
        waiting = set[asyncio.Task[None]]()
        self.began = due = perf_counter()
        while (due := due + rng.expovariate(self._asking.rate)) < self.began + self._asking.seconds:
            await asyncio.sleep(max(0.0, due - perf_counter()))
            if len(waiting) >= MOST_CONNECTIONS:
                raise Failed(f"more than {MOST_CONNECTIONS} questions wait for an answer")
            task = asyncio.create_task(self._arrive(next(self._numbers), due, idle))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        await asyncio.gather(*waiting)
        self.ended = perf_counter()
        for _, _, writer in idle:
            writer.close()

    async def _arrive(self, number: int, due: float, idle: list[tuple[float, Reader, Writer]]) -> None:
        while idle:
            since, reader, writer = idle.pop()
            if perf_counter() - since < STALE_S:
                break
            writer.close()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._target.port)
        await self._ask(number, reader, writer, due)
        idle.append((perf_counter(), reader, writer))

    async def _ask(self, number: int, reader: Reader, writer: Writer, since: float) -> None:
        writer.write(self._target.requests[number])
        answer = await self._read(reader)
        self.latencies_ms.append((perf_counter() - since) * 1e3)
        if self._keep:
            self.answers[number] = answer


async def carry_out(order: dict[str, Any], target: Target) -> dict[str, Any]:
    """What an order measured, as fields of Answered."""
    asking = Asking(**order["asking"])
    run = Run(target, asking, order.get("once", False))
    busy_s = process_time()
    await asyncio.wait_for(run.run(), asking.seconds + DEADLINE_S)
    busy_s = process_time() - busy_s
    answers = [_text(run.answers[number], target.protocol) for number in sorted(run.answers)]
    took_s = run.ended - run.began
    return {"took_s": took_s, "latencies_ms": run.latencies_ms, "answers": answers, "busy_s": busy_s}


def _text(reply: bytes, protocol: str) -> str:
    return str(json.loads(reply)["answer"]) if protocol == "http" else reply.decode()


def main() -> None:
    targets: list[Target] = []

    def answer(order: dict[str, Any]) -> dict[str, Any]:
        if "target" in order:
            fields = order["target"]
            requests = [request.encode("latin-1") for request in fields.pop("requests")]
            targets.append(Target(requests=requests, **fields))
            return {}
        target = targets[order["ask"]]
        try:
            return asyncio.run(carry_out(order, target))
        except asyncio.TimeoutError:
            return {"error": f"port {target.port}: no answer within {DEADLINE_S:g} s"}
        except (Failed, OSError, EOFError) as error:
            return {"error": f"port {target.port}: {error!r}"}

    answer_each(answer)


if __name__ == "__main__":
    main()
