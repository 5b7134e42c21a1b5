"""StreamReader registrations: the entries of streams are given to functions, in batches, each once.

1. Entries are read through a consumer group of the stream, so the server remembers what was read and what was
   done. A batch is acknowledged, and cut off the stream where `trimStream` says so, when its execution has
   ended.
2. One batch of a stream runs at a time, also while a registration takes the place of another. A stream
   belongs to the registration that came last of those that match it. Behind one that was unregistered nobody
   waits: the batch that still runs of it is left to it (`_left`).
3. Events tell how many entries wait. What they cannot tell is looked up (`_Stream.look`): after
   `start`, which is called again when this shard becomes a master or is given streams, and after an error.
   What was read but not acknowledged then comes first, and is run again.
4. A batch that failed is acknowledged all the same (`continue`), tried again after a while (`retry`), or
   stops the registration (`abort`).
5. Streams that are gone are forgotten after a while (`_sweep`): an entry begins them anew.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from keymiss.errors import GearsError, KeymissError
from keymiss.functions.backlog import Backlog, age_s
from keymiss.functions.context import Context, current
from keymiss.functions.executions import DONE, Execution
from keymiss.functions.job import FunctionJob
from keymiss.functions.readers import RecordsSource, scan
from keymiss.functions.records import NOT_LOCAL, stream_record
from keymiss.functions.registering import StreamArguments
from keymiss.functions.replies import text

if TYPE_CHECKING:
    import asyncio

    from keymiss.functions.gears import Gears
    from keymiss.functions.registrations import Registration

GROUP = "__gears_consumer_group__"
CONSUMER = "__gears_consumer__"
OK, PAUSED, ABORTED, WAITING = "OK", "PAUSED", "ABORTED", "WAITING_FOR_RETRY_ON_FAILURE"
AGAIN_S = 1.0  # after what will pass: no free thread, an error of the server
TURN_S = 0.1  # to look whether the batch of another registration has ended
MOST_ERRORS = 30  # in a row, until the next entry
SWEEP_S = 60.0  # from one look for streams that are gone to the next
_SWEEP_ONE_S = 0.001  # at least so much for each: it takes less than a tenth of that
_SWEPT_AT_ONCE = 100
_SCAN_COUNT = 1000
# The stream is gone, or another shard's, or this one is a replica now: an event or `start` tells more.
_GONE = ("requires the key to exist", "READONLY", "WRONGTYPE", NOT_LOCAL)

# Invariant 2
_running: dict[bytes, _Stream] = {}  # of which a batch runs, whoever's
_left: set[_Stream] = set()  # of which one runs whose registration is gone


class _Stream:
    """One stream of a registration. Changed by the loop's thread, and by the thread that runs its batch."""

    __slots__ = (
        *("added", "busy", "errors", "fresh", "ids", "key", "look"),
        *("oldest_s", "read_s", "retrying", "taken", "timer", "waits_since_s"),
    )

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.added = 0  # entries, as far as events told
        self.taken = 0  # how many of them were read; not more than were
        self.look = True  # invariant 3
        self.fresh = True  # the first run is of what is pending, also where nothing is: so it is counted
        self.busy = False
        self.retrying = False
        self.errors = 0  # of the server, in a row
        self.timer: Any = None
        self.ids: list[str] = []  # entries that were read and not finished, and since when the oldest waits
        self.oldest_s = 0.0
        self.read_s = 0.0  # when they were read
        self.waits_since_s = time.monotonic()  # no entry that was not read yet was known before

    @property
    def waiting(self) -> int:
        """Entries that were not read yet; never too few, and too many only for a moment."""
        return self.added - self.taken

    @property
    def batch(self) -> int:
        """Entries that were read and not finished."""
        return len(self.ids)


class StreamConsumer:
    """The streams of one registration."""

    def __init__(self, gears: Gears, registration: Registration, arguments: StreamArguments) -> None:
        self._gears = gears
        self._registration = registration
        self._arguments = arguments
        self._streams: dict[bytes, _Stream] = {}
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._aborted = False
        self._stopped = False
        self._lags: tuple[int, int, int] = (0, 0, 0)  # last and sum, in ms, and of how many

    @property
    def status(self) -> str:
        if self._registration.paused:
            return PAUSED
        if self._aborted:
            return ABORTED
        return WAITING if any(stream.retrying for stream in list(self._streams.values())) else OK

    def lags(self) -> list[Any]:
        """Times from an entry's addition to the end of its execution, as RG.DUMPREGISTRATIONS shows them."""
        last, total, count = self._lags
        average = f"{total / count:g}" if count else "0"
        return ["lastEstimatedLagMS", last, "avgEstimatedLagMS", average]

    def backlogs(self) -> list[Backlog]:
        """What was added and is not finished, of each stream. Every thread."""
        return [self._backlog(stream) for stream in list(self._streams.values())]

    def _backlog(self, stream: _Stream) -> Backlog:
        """What only waits for its batch to be full is not late."""
        waiting = max(stream.waiting, 0)
        if stream.batch:
            return Backlog(waiting + stream.batch, stream.oldest_s)
        return Backlog(waiting, stream.waits_since_s if waiting >= self._arguments.batch else None)

    def start(self) -> None:
        """Read what is in the streams already. In the background, since it scans."""
        if not self._registration.paused:
            self._gears.shard.on_loop(self._look_again)
            self._gears.in_background(self._find)

    def _look_again(self) -> None:
        for stream in self._streams.values():
            stream.look = True

    def stop(self, replaced: bool) -> None:
        """The registration is gone. One that has replaced it waits for the batches that run."""
        self._stopped = True
        for stream in list(self._streams.values()):
            self._stop_timer(stream)
            if stream.busy and not replaced:
                self._leave(stream)
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()

    def matches(self, key: bytes) -> bool:
        prefix = self._arguments.prefix.encode()
        return key.startswith(prefix[:-1]) if prefix.endswith(b"*") else key == prefix

    def fire(self, job: FunctionJob) -> None:
        """An entry was added to a stream. The loop's thread."""
        if not job.on_replica and self._owns(job.key):
            stream = self._stream(job.key)
            if not stream.waiting and not stream.batch:
                stream.waits_since_s = job.came_s
            stream.added += 1
            stream.errors = 0
            if self._registration.mode == "sync":
                self._run_sync(stream, job)
            self._gears.shard.call_soon(self._consider, stream)
        job.done(b"")

    def _run_sync(self, stream: _Stream, job: FunctionJob) -> None:
        """Run the batches that are there, while the server waits."""
        token = current.set(self._context(job))
        try:
            while (
                self._may_run(stream)
                and stream.key not in _running
                and (stream.look or stream.waiting >= self._arguments.batch)
            ):
                self._occupy(stream)
                self._go(stream, job=job)
        finally:
            current.reset(token)

    def _stream(self, key: bytes) -> _Stream:
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(key)
            self._sweep_later()
        return stream

    def _context(self, job: FunctionJob | None) -> Context:
        return Context(job, session=self._registration.session, async_allowed=True)

    # Which streams there are

    def _find(self) -> None:
        pattern = _as_pattern(self._arguments.prefix)
        try:
            for key in scan(self._gears.shard.execute, pattern, _SCAN_COUNT, "stream"):
                raw = key.encode() if isinstance(key, str) else bytes(key)
                self._gears.shard.call_soon(self._found, raw)
        except KeymissError as error:
            self._log(f"streams {pattern!r} cannot be looked for: {error}")

    def _owns(self, key: bytes) -> bool:
        return self._gears.registrations.reader_of(key) is self

    def _found(self, key: bytes) -> None:
        """Where a batch has looked meanwhile, as that of a `sync` event does, nothing is left to be read."""
        if self._owns(key):
            self._consider(self._stream(key))

    # Which are gone

    def _sweep_later(self) -> None:
        if self._sweep_timer is None and self._streams and not self._stopped:
            delay_s = max(SWEEP_S, len(self._streams) * _SWEEP_ONE_S)
            self._sweep_timer = self._gears.shard.loop.call_later(delay_s, self._sweep)

    def _sweep(self) -> None:
        self._sweep_timer = None
        self._sweep_later()
        known = [(stream, stream.added) for stream in self._streams.values()]
        self._gears.in_background(lambda: self._find_gone(known))

    def _find_gone(self, known: list[tuple[_Stream, int]]) -> None:
        execute_all = self._gears.shard.execute_all
        with suppress(KeymissError):  # the next time
            for start in range(0, len(known), _SWEPT_AT_ONCE):
                some = known[start : start + _SWEPT_AT_ONCE]
                # Not EXISTS, which is a miss of the key.
                answers = execute_all([("OBJECT", "ENCODING", stream.key) for stream, _ in some])
                for (stream, added), answer in zip(some, answers, strict=True):
                    if answer is None or (isinstance(answer, GearsError) and _means(answer, *_GONE)):
                        self._gears.shard.call_soon(self._forget, stream, added)

    def _forget(self, stream: _Stream, added: int) -> None:
        """It was gone when it had had so many entries."""
        if stream.added == added and not (stream.busy or stream.retrying):
            self._stop_timer(stream)
            if self._streams.get(stream.key) is stream:
                del self._streams[stream.key]

    # When a batch starts. The loop's thread

    def _may_run(self, stream: _Stream) -> bool:
        stopped = self._stopped or self._aborted or self._registration.paused
        return not (stopped or stream.busy or stream.retrying)

    def _consider(self, stream: _Stream, complete: bool = False) -> None:
        """Start a batch if one is full, or is to be started as it is (`complete`)."""
        if not self._may_run(stream):
            return
        if stream.look or stream.waiting >= self._arguments.batch or (complete and stream.waiting):
            self._stop_timer(stream)
            self._start(stream, complete)
        elif stream.waiting and self._arguments.duration_ms and stream.timer is None:
            self._start_timer(stream, self._arguments.duration_ms / 1000)

    def _start(self, stream: _Stream, complete: bool) -> None:
        if stream.key in _running:
            self._start_timer(stream, TURN_S)
            return
        self._occupy(stream)
        try:
            self._gears.shard.in_pool(lambda: self._go(stream, complete=complete), self._context(None))
        except KeymissError:  # too much waits for a thread
            self._free(stream)
            self._start_timer(stream, AGAIN_S)

    def _start_timer(self, stream: _Stream, delay_s: float) -> None:
        if not self._stopped and stream.timer is None:
            stream.timer = self._gears.shard.loop.call_later(delay_s, self._on_timer, stream)

    def _on_timer(self, stream: _Stream) -> None:
        stream.timer = None
        self._consider(stream, complete=True)

    @staticmethod
    def _stop_timer(stream: _Stream) -> None:
        if stream.timer is not None:
            stream.timer.cancel()
            stream.timer = None

    def _go_on(self, stream: _Stream) -> None:
        """A batch has ended. Every thread."""
        self._free(stream)
        self._gears.shard.call_soon(self._consider, stream)

    @staticmethod
    def _occupy(stream: _Stream) -> None:
        stream.busy = True
        _running[stream.key] = stream

    def _free(self, stream: _Stream) -> None:
        stream.busy = False
        _let_go(stream)
        if stream in _left:
            _left.discard(stream)
            self._gears.shard.call_soon(self._hand_over, stream.key)

    def _leave(self, stream: _Stream) -> None:
        """Every thread."""
        _left.add(stream)
        _let_go(stream)
        if not stream.busy:  # its batch has just ended
            self._free(stream)

    def _hand_over(self, key: bytes) -> None:
        """Whoever has the stream now reads what the batch that was left has not finished."""
        reader = self._gears.registrations.reader_of(key)
        if reader is not None:
            reader._stream(key).look = True
            reader._found(key)

    # Batches, in the thread that runs them

    def _go(self, stream: _Stream, complete: bool = False, job: FunctionJob | None = None) -> None:
        """`job` is the one that waits for a sync run, in whose thread this is."""
        try:
            entries = self._next(stream, complete)
            stream.errors = 0
        except Exception as error:  # as where a batch does not fit into the memory
            self._failed(stream, error)
            return
        if not entries and not stream.fresh:
            self._go_on(stream)
            return
        stream.fresh = False
        if entries:
            stream.read_s = time.monotonic()
            stream.oldest_s = stream.read_s - age_s(entries[0][0])
            stream.ids = [entry_id for entry_id, _ in entries]
        if self._stopped:  # meanwhile: whoever has the stream now reads them
            self._go_on(stream)
            return
        self._registration.run_records(
            RecordsSource(tuple(stream_record(text(stream.key), *entry) for entry in entries)),
            self._context(job),
            lambda execution: self._ended(stream, [entry_id for entry_id, _ in entries], execution),
        )

    def _next(self, stream: _Stream, complete: bool) -> list[Any]:
        """The entries of the next batch; none where too few are there."""
        added, batch = stream.added, self._arguments.batch
        if stream.look:
            self._create_group(stream)
            pending = self._pending(stream)
            if pending or stream.fresh:
                return pending
        if stream.look or batch > 1:
            unread = self._unread(stream)
            stream.taken = added - unread
            stream.look = False
            if unread < (1 if complete else batch):
                return []
        entries = self._read(stream, ">")
        stream.taken = stream.taken + batch if len(entries) == batch else added
        return entries

    def _create_group(self, stream: _Stream) -> None:
        try:
            self._gears.shard.execute("XGROUP", "CREATE", stream.key, GROUP, "0")
        except GearsError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _pending(self, stream: _Stream) -> list[Any]:
        """What was read but not acknowledged, and is left to nobody. Entries that are cut off the stream
        meanwhile are done with.
        """
        after = "0"
        while entries := self._read(stream, after):
            after = entries[-1][0]
            left = {entry_id for other in list(_left) if other.key == stream.key for entry_id in other.ids}
            ours = [entry for entry in entries if entry[0] not in left]
            there = [entry for entry in ours if entry[1] is not None]
            if there:
                return there
            if ours:
                self._gears.shard.execute("XACK", stream.key, GROUP, *(entry_id for entry_id, _ in ours))
        return []

    def _unread(self, stream: _Stream) -> int:
        """How many entries nobody has read."""
        execute = self._gears.shard.execute
        for group in execute("XINFO", "GROUPS", stream.key):
            facts = dict(zip(group[::2], group[1::2], strict=True))
            if facts["name"] == GROUP:
                if facts["lag"] is not None:
                    return int(facts["lag"])
                # The server has lost count, as where some were deleted.
                after = f"({facts['last-delivered-id']}"
                return len(execute("XRANGE", stream.key, after, "+", "COUNT", self._arguments.batch))
        return 0

    def _read(self, stream: _Stream, start: str) -> list[Any]:
        """The next entries of the group, or with an id those behind it that were read and not finished."""
        reply = self._gears.shard.execute(
            *("XREADGROUP", "GROUP", GROUP, CONSUMER, "COUNT", self._arguments.batch),
            *("STREAMS", stream.key, start),
        )
        return list(reply[0][1]) if reply else []

    def _failed(self, stream: _Stream, error: Exception) -> None:
        """The stream cannot be read: it is gone or has moved away, or the server cannot just now."""
        stream.look = True
        stream.taken = stream.added
        stream.ids = []
        stream.errors += 1
        if stream.errors == 1 and not _means(error, "NOGROUP", *_GONE):
            self._log(f"stream {stream.key!r} cannot be read: {error}")
        self._gears.shard.call_soon(self._after_error, stream, error)

    def _after_error(self, stream: _Stream, error: Exception) -> None:
        self._free(stream)
        if _means(error, *_GONE) or stream.errors > MOST_ERRORS:
            self._streams.pop(stream.key, None)
        elif stream.errors == 1 and _means(error, "NOGROUP"):  # the stream is another than it was
            self._consider(stream)
        else:
            self._start_timer(stream, AGAIN_S)

    def _ended(self, stream: _Stream, ids: list[str], execution: Execution) -> None:
        try:
            self._finish(stream, ids, execution)
        finally:
            self._go_on(stream)

    def _finish(self, stream: _Stream, ids: list[str], execution: Execution) -> None:
        if ids:
            lag = max(0, int(time.time() * 1000) - int(ids[-1].partition("-")[0]))
            self._lags = (lag, self._lags[1] + lag, self._lags[2] + 1)
        policy = self._arguments.policy if execution.errors else "continue"
        if policy == "abort":
            self._aborted = True
        elif policy == "retry":
            stream.retrying = stream.look = True
            self._gears.shard.call_soon(self._retry_later, stream)
        elif self._stopped and execution.status != DONE:
            pass  # who takes the place of this registration runs it again
        elif ids:
            self._acknowledge(stream, ids)
            stream.ids, stream.waits_since_s = [], stream.read_s

    def _retry_later(self, stream: _Stream) -> None:
        self._gears.shard.loop.call_later(self._arguments.retry_interval_s, self._retry, stream)

    def _retry(self, stream: _Stream) -> None:
        stream.retrying = False
        self._consider(stream)

    def _acknowledge(self, stream: _Stream, ids: list[str]) -> None:
        commands: list[tuple[Any, ...]] = [("XACK", stream.key, GROUP, *ids)]
        if self._arguments.trim:
            milliseconds, _, number = ids[-1].partition("-")
            commands.append(("XTRIM", stream.key, "MINID", f"{milliseconds}-{int(number) + 1}"))
        for answer in self._answers(commands):
            if isinstance(answer, KeymissError):
                stream.look = True
                self._log(f"stream {stream.key!r} cannot be acknowledged: {answer}")

    def _answers(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """Where none comes in time the server may carry them out all the same: what it did is looked up."""
        try:
            return self._gears.shard.execute_all(commands)
        except KeymissError as error:
            return [error]

    def _log(self, message: str) -> None:
        self._gears.shard.log(message, "warning")


def _let_go(stream: _Stream) -> None:
    if _running.get(stream.key) is stream:
        del _running[stream.key]


def _means(error: Exception, *words: str) -> bool:
    return any(word in str(error) for word in words)


def _as_pattern(prefix: str) -> str:
    """A glob pattern that matches what the prefix does."""
    exact = "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in prefix.removesuffix("*"))
    return exact + "*" if prefix.endswith("*") else exact
