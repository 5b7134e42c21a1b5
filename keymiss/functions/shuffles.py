"""Records on their way between shards: in chunks, a few at a time, so that no shard ever holds them all.

An `Outbox` takes what comes out of a leg and sends it to the shards where it belongs. An `Inbox` keeps the
chunks that came for a leg until its pipeline reads them.

1. At most WINDOW chunks of one leg are on their way from a shard to another, or to itself. A pipeline that
   would send more pauses until one was read; it holds no thread meanwhile. A leg waits for later ones
   only, and the last for none.
2. The bus keeps the order of messages but may lose some with a connection. Chunks are numbered, and every
   sign of life repeats how many were sent and how many were read: a lost chunk is an error of the execution,
   a message of any other kind that was lost is made up for by the next.
3. A pipeline that wants no more records (a limit, an error) has what still comes for it thrown away unread.
"""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from keymiss.functions.errors import short_text
from keymiss.functions.shard import Shard
from keymiss.functions.steps import Pipeline, Waiting

CHUNK_RECORDS = 500
CHUNK_BYTES = 256 * 1024  # what is over it goes into a chunk of its own
WINDOW = 8

OnRead = Callable[[str, int], None]  # the shard that sent it, and how many of its chunks were read
Send = Callable[[str, int, list[bytes]], bool]  # for which shard, the chunk's number, its records; did it go?
Keep = Callable[[int, list[Any]], None]  # the chunk's number, its records


class _Pause:
    """A future of the loop that one thread awaits and any thread resolves."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._future: asyncio.Future[None] | None = None

    def begin(self) -> asyncio.Future[None]:
        self._future = self._shard.loop.create_future()
        return self._future

    def end(self) -> None:
        future, self._future = self._future, None
        if future is not None:
            self._shard.call_soon(_resolve, future)


class Inbox:
    """The chunks for one leg. `read` is for the pipeline's thread, all else for every thread."""

    def __init__(self, shard: Shard, nodes: Sequence[str], errors: list[str], on_read: OnRead) -> None:
        self._errors = errors
        self._on_read = on_read
        self._lock = threading.Lock()
        self._chunks: deque[tuple[str, int, list[Any], bool]] = deque()
        self._came = dict.fromkeys(nodes, 0)
        self._read = dict.fromkeys(nodes, 0)
        self._sending = set(nodes)
        self._unwanted = False
        self._arrival = _Pause(shard)

    def add(self, node: str, number: int, records: list[Any], pickled: bool = True) -> None:
        """A chunk of that number has come. It is counted as read at once where nobody wants it."""
        with self._lock:
            if node not in self._came or number < self._came[node]:
                return
            self._note_lost(node, number)
            self._came[node] = number + 1
            if not self._unwanted:
                self._chunks.append((node, number + 1, records, pickled))
                self._arrival.end()
                return
        self._note_read(node, number + 1)

    def sent(self, node: str, count: int, all_sent: bool) -> None:
        """So many chunks were sent by this shard until now."""
        with self._lock:
            if node not in self._came:
                return
            lost = self._note_lost(node, count)
            if all_sent:
                self._sending.discard(node)
            self._arrival.end()
        if lost:
            self._note_read(node, count)

    def give_up(self, node: str) -> None:
        """Nothing more comes from this shard."""
        with self._lock:
            self._sending.discard(node)
            self._arrival.end()

    def has_all_of(self, node: str) -> bool:
        """Nothing more is expected from this shard."""
        return node not in self._sending

    def progress(self, node: str) -> int:
        """How many chunks of this shard were read."""
        return self._read[node]

    def read(self, pipeline: Pipeline) -> Waiting:
        """Pass every record to the pipeline until all shards have sent theirs, then finish."""
        try:
            while not pipeline.done:
                with self._lock:
                    if not self._chunks:
                        if not self._sending:
                            break
                        arrival = self._arrival.begin()
                        chunk = None
                    else:
                        chunk = self._chunks.popleft()
                if chunk is None:
                    yield arrival
                else:
                    yield from self._pass(chunk, pipeline)
        finally:
            self.discard()
        yield from pipeline.finish()

    def _pass(self, chunk: tuple[str, int, list[Any], bool], pipeline: Pipeline) -> Waiting:
        node, count, records, pickled = chunk
        for record in records:
            if pickled:
                try:
                    record = pickle.loads(record)
                except Exception as error:
                    self._errors.append(short_text(error))
                    continue
            yield from pipeline.feed(record)
            if pipeline.done:
                break
        self._note_read(node, count)

    def discard(self) -> None:
        """Nobody reads any more: what is here, and what still comes, counts as read."""
        with self._lock:
            self._unwanted = True
            left = {node: count for node, count, _, _ in self._chunks}
            self._chunks.clear()
        for node, count in left.items():
            self._note_read(node, count)

    def _note_lost(self, node: str, expected: int) -> bool:
        """The lock is held."""
        lost = expected - self._came[node]
        if lost <= 0:
            return False
        self._came[node] = expected
        self._errors.append(f"shard {node}: {lost} messages with records were lost on their way")
        return True

    def _note_read(self, node: str, count: int) -> None:
        self._read[node] = max(self._read[node], count)
        self._on_read(node, count)


class Outbox:
    """What one leg sends. `put` and `close` are for the pipeline's thread, all else for every thread."""

    def __init__(self, shard: Shard, nodes: Sequence[str], errors: list[str], send: Send, keep: Keep) -> None:
        """`send` takes a chunk for another shard, `keep` one for this shard."""
        self._me = shard.node
        self._errors = errors
        self._send = send
        self._keep = keep
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Any]] = {node: [] for node in nodes}
        self._bytes = dict.fromkeys(nodes, 0)
        self._sent = dict.fromkeys(nodes, 0)
        self._read = dict.fromkeys(nodes, 0)
        self._gone: set[str] = set()
        self._room = _Pause(shard)
        self._closed = False

    def put(self, node: str, record: Any) -> asyncio.Future[None] | None:
        """Take a record for that shard; what is to be awaited before the next one, where too many are
        unread there."""
        waiting = self._waiting[node]
        if node == self._me:
            waiting.append(record)
        elif node not in self._gone:
            try:
                pickled = _pickled(record)
            except Exception as error:
                self._errors.append(short_text(error))
                return None
            waiting.append(pickled)
            self._bytes[node] += len(pickled)
        if len(waiting) < CHUNK_RECORDS and self._bytes[node] < CHUNK_BYTES:
            return None
        self._flush(node)
        with self._lock:
            return self._room.begin() if self._is_full(node) else None

    def close(self) -> None:
        """No record follows."""
        for node, waiting in self._waiting.items():
            if waiting:
                self._flush(node)
        self._closed = True

    def progress(self, node: str) -> tuple[int, bool]:
        """How many chunks this shard was sent, and whether that is all."""
        closed = self._closed  # before the number, which it makes the last one
        return self._sent[node], closed

    def read(self, node: str, count: int) -> None:
        """That shard has read so many chunks."""
        with self._lock:
            self._read[node] = max(self._read.get(node, 0), count)
            if not self._is_full(node):
                self._room.end()

    def give_up(self, node: str) -> None:
        """That shard is gone: what is for it is thrown away."""
        with self._lock:
            self._gone.add(node)
            self._room.end()

    def _is_full(self, node: str) -> bool:
        return node not in self._gone and self._sent[node] - self._read[node] >= WINDOW

    def _flush(self, node: str) -> None:
        records, self._waiting[node] = self._waiting[node], []
        self._bytes[node] = 0
        number = self._sent[node]
        if node == self._me:
            self._keep(number, records)
        elif node in self._gone or not self._send(node, number, records):
            return
        self._sent[node] = number + 1  # only now: who reads it must find the chunk on its way


def _pickled(record: Any) -> bytes:
    """Plain pickle is several times faster, and does for all but what the script has defined itself."""
    try:
        return pickle.dumps(record, pickle.HIGHEST_PROTOCOL)
    except Exception:
        pickled: bytes = cloudpickle.dumps(record)
        return pickled


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
