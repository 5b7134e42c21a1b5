"""Clients that ask again as soon as they have their answers.

Sockets and epoll and nothing between: what a client computes it takes from the cores of what it measures, and
a client that comes alone waits for it, with caches that the model has just emptied.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter

READ_BYTES = 1 << 16


@dataclass(eq=False, slots=True)
class _Client:
    sock: socket.socket
    number: int = 0  # of its question
    asked_s: float = 0.0
    received: bytes = b""


class ClosedLoop:
    """`numbers` are of the requests, in turn: none is sent where there are no more, or the time is over.
    `whole` makes an answer of what was received, or None where more will come."""

    def __init__(
        self,
        requests: Sequence[bytes],
        numbers: Iterator[int],
        whole: Callable[[bytes], bytes | None],
        answered: Callable[[int, float, bytes], object],
    ) -> None:
        """`answered` is told the number of each request that was answered, how long that took (milliseconds),
        and the answer."""
        self._requests, self._numbers = requests, numbers
        self._whole, self._answered = whole, answered

    def run(self, port: int, clients: int, seconds: float, deadline_s: float) -> float:
        """How long it took until the last one had its answer. TimeoutError where none of them has one for
        `deadline_s`, EOFError where the server ends a connection."""
        with ExitStack() as stack:
            poll = stack.enter_context(select.epoll())
            asking: dict[int, _Client] = {}
            for _ in range(clients):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), deadline_s))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                poll.register(sock, select.EPOLLIN)
                asking[sock.fileno()] = _Client(sock)
            began_s = perf_counter()
            end_s = began_s + seconds
            for client in list(asking.values()):
                if not self._ask(client):
                    del asking[client.sock.fileno()]
            while asking:
                ready = poll.poll(deadline_s)
                if not ready:
                    raise TimeoutError
                for fd, _ in ready:
                    if self._take(asking[fd], end_s):
                        del asking[fd]
            return perf_counter() - began_s

    def _ask(self, client: _Client) -> bool:
        """Whether there was a question left."""
        number = next(self._numbers, None)
        if number is None:
            return False
        client.number, client.received = number, b""
        client.asked_s = perf_counter()
        client.sock.sendall(self._requests[number])
        return True

    def _take(self, client: _Client, end_s: float) -> bool:
        """Take what has come. Whether the client asks no more."""
        received = client.sock.recv(READ_BYTES)
        now_s = perf_counter()
        if not received:
            raise EOFError("it ended the connection")
        client.received += received
        answer = self._whole(client.received)
        if answer is None:
            return False
        self._answered(client.number, (now_s - client.asked_s) * 1e3, answer)
        return now_s >= end_s or not self._ask(client)
