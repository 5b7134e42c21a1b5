"""The clients, in a process of their own that takes little from the two cores of what it measures: every
request is made before it is needed, the same for RESP and for HTTP.

`python -m keymiss_deploy.bench.generator` reads orders from its input, a JSON object a line, and answers each
by a line: what it measured, or `{"error": ...}`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

from .answered import Answered, Asking
from .closed_loop import READ_BYTES, ClosedLoop
from .dialog import Ask, answer_each, dialog
from .protocols import PROTOCOLS, Failed

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

# That idles, and since when.
Connection = tuple[float, asyncio.StreamReader, asyncio.StreamWriter]


class Run:
    """One order while it is carried out."""

    def __init__(self, target: Target, asking: Asking, once: bool) -> None:
        self._target, self._asking = target, asking
        self._whole = PROTOCOLS[target.protocol]
        order = range(len(target.requests))
        self._numbers = iter(order) if once else itertools.cycle(order)
        self._seconds = float("inf") if once else asking.seconds
        self._keep = once
        self.latencies_ms: list[float] = []
        self.answers: dict[int, bytes] = {}

    def run(self) -> float:
        """How long it took."""
        if self._asking.rate:
            return asyncio.run(asyncio.wait_for(self._open_loop(), self._asking.seconds + DEADLINE_S))
        loop = ClosedLoop(self._target.requests, self._numbers, self._whole, self._answered)
        return loop.run(self._target.port, self._asking.clients, self._seconds, DEADLINE_S)

    def _answered(self, number: int, latency_ms: float, answer: bytes) -> None:
        self.latencies_ms.append(latency_ms)
        if self._keep:
            self.answers[number] = answer

    async def _open_loop(self) -> float:
        """Each question at its own time. Its latency counts from then on, whenever it could be sent."""
        rng, idle = random.Random(SEED), list[Connection]()
        waiting = set[asyncio.Task[None]]()
        began = due = perf_counter()
        while (due := due + rng.expovariate(self._asking.rate)) < began + self._asking.seconds:
            await asyncio.sleep(max(0.0, due - perf_counter()))
            if len(waiting) >= MOST_CONNECTIONS:
                raise Failed(f"more than {MOST_CONNECTIONS} questions wait for an answer")
            task = asyncio.create_task(self._arrive(next(self._numbers), due, idle))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        await asyncio.gather(*waiting)
        ended = perf_counter()
        for _, _, writer in idle:
            writer.close()
        return ended - began

    async def _arrive(self, number: int, due: float, idle: list[Connection]) -> None:
        while idle:
            since, reader, writer = idle.pop()
            if perf_counter() - since < STALE_S:
                break
            writer.close()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._target.port)
        writer.write(self._target.requests[number])
        answer, received = None, b""
        while answer is None:
            read = await reader.read(READ_BYTES)
            if not read:
                raise EOFError("it ended the connection")
            received += read
            answer = self._whole(received)
        self._answered(number, (perf_counter() - due) * 1e3, answer)
        idle.append((perf_counter(), reader, writer))


def carry_out(order: dict[str, Any], target: Target) -> dict[str, Any]:
    """What an order measured, as fields of Answered."""
    run = Run(target, Asking(**order["asking"]), order.get("once", False))
    busy_s = process_time()
    took_s = run.run()
    busy_s = process_time() - busy_s
    answers = [_text(run.answers[number], target.protocol) for number in sorted(run.answers)]
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
            return carry_out(order, target)
        except (TimeoutError, asyncio.TimeoutError):
            return {"error": f"port {target.port}: no answer within {DEADLINE_S:g} s"}
        except (Failed, OSError, EOFError) as error:
            return {"error": f"port {target.port}: {error!r}"}

    answer_each(answer)


if __name__ == "__main__":
    main()
