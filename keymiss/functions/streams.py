"""StreamReader registrations: the entries of streams are given to functions, in batches, each once.

1. Entries are read through a consumer group of the stream, so the server remembers what was read and what was
   done. A batch is acknowledged, and cut off the stream where `trimStream` says so, when its execution has
   ended.
2. One batch of a stream runs at a time. A stream belongs to the registration that came last of those that
   match it.
3. What a worker had read but not acknowledged when it died is read again by the next one, first of all.
4. A batch that failed is acknowledged all the same (`continue`), tried again after a while (`retry`), or
   stops the registration (`abort`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from keymiss.errors import GearsError, KeymissError
from keymiss.functions.context import Context, current
from keymiss.functions.executions import Execution
from keymiss.functions.job import FunctionJob
from keymiss.functions.readers import RecordsSource, scan
from keymiss.functions.records import stream_record
from keymiss.functions.registering import StreamArguments

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears
    from keymiss.functions.registrations import Registration

GROUP = "__gears_consumer_group__"
CONSUMER = "__gears_consumer__"
OK, PAUSED, ABORTED, WAITING = "OK", "PAUSED", "ABORTED", "WAITING_FOR_RETRY_ON_FAILURE"
_SCAN_COUNT = 1000


class _Stream:
    """One stream of a registration. Changed by the loop's thread, and by the thread that runs its batch."""

    __slots__ = ("busy", "key", "pending_first", "timer", "waiting")

    def __init__(self, key: Any) -> None:
        self.key = key
        self.waiting = 0  # entries added that were not read yet, as far as events told
        self.busy = False
        self.pending_first = True  # invariant 3: what is pending has not been looked at
        self.timer: Any = None


class StreamConsumer:
    """The streams of one registration."""

    def __init__(self, gears: Gears, registration: Registration, arguments: StreamArguments) -> None:
        self._gears = gears
        self._registration = registration
        self._arguments = arguments
        self._streams: dict[str | bytes, _Stream] = {}
        self._status = OK
        self._stopped = False
        self._lags: tuple[int, int, int] = (0, 0, 0)  # last and sum, in ms, and of how many

    @property
    def status(self) -> str:
        return PAUSED if self._registration.paused else self._status

    def lags(self) -> list[Any]:
        """Times from an entry's addition to the end of its execution, as RG.DUMPREGISTRATIONS shows them."""
        last, total, count = self._lags
        average = f"{total / count:g}" if count else "0"
        return ["lastEstimatedLagMS", last, "avgEstimatedLagMS", average]

    def start(self) -> None:
        """Read what is in the streams already. In the pool, since it scans."""
        if self._registration.mode != "sync" and not self._registration.paused:
            self._gears.shard.in_pool(self._find, self._context(None))

    def stop(self) -> None:
        """The registration is gone."""
        self._stopped = True
        for stream in self._streams.values():
            self._stop_timer(stream)

    def matches(self, key: bytes) -> bool:
        prefix = self._arguments.prefix.encode()
        return key.startswith(prefix[:-1]) if prefix.endswith(b"*") else key == prefix

    def fire(self, job: FunctionJob) -> None:
        """An entry was added to a stream. The loop's thread."""
        registration = self._registration
        if (
            self.status not in (OK, WAITING)
            or job.on_replica
            or not self._gears.registrations.owns(registration, job.key)
        ):
            job.done(b"")
            return
        stream = self._stream(job.key)
        stream.waiting += 1
        if registration.mode == "sync":
            token = current.set(self._context(job))
            try:
                self._go(stream, inline=True)
            finally:
                current.reset(token)
            job.done(b"")
            return
        job.done(b"")
        self._gears.shard.call_soon(self._consider, stream)

    def _stream(self, key: bytes) -> _Stream:
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(key)
        return stream

    def _context(self, job: FunctionJob | None) -> Context:
        return Context(job, session=self._registration.session, async_allowed=True)

    def _find(self) -> None:
        prefix = self._arguments.prefix
        execute = self._gears.shard.execute
        for key in scan(execute, _as_pattern(prefix), _SCAN_COUNT):
            if execute("TYPE", key) == "stream":
                raw = key.encode() if isinstance(key, str) else bytes(key)
                self._gears.shard.call_soon(self._found, raw, execute("XLEN", key))

    def _found(self, key: bytes, length: int) -> None:
        if self._gears.registrations.owns(self._registration, key):
            stream = self._stream(key)
            stream.waiting = max(stream.waiting, length)
            self._consider(stream)

    def _consider(self, stream: _Stream, complete: bool = False) -> None:
        """Start a batch if one is full, or is to be started as it is (`complete`). The loop's thread."""
        if stream.busy or self._stopped or self.status != OK or not stream.waiting:
            return
        if stream.waiting >= self._arguments.batch or complete:
            self._stop_timer(stream)
            stream.busy = True
            try:
                self._gears.shard.in_pool(lambda: self._go(stream, inline=False), self._context(None))
            except KeymissError:  # too much waits for a thread: the next entry, or the timer, tries again
                stream.busy = False
                self._start_timer(stream, 1.0)
        elif self._arguments.duration_ms and stream.timer is None:
            self._start_timer(stream, self._arguments.duration_ms / 1000)

    def _start_timer(self, stream: _Stream, delay_s: float) -> None:
        stream.timer = self._gears.shard.loop.call_later(delay_s, self._on_timer, stream)

    def _on_timer(self, stream: _Stream) -> None:
        stream.timer = None
        self._consider(stream, complete=True)

    @staticmethod
    def _stop_timer(stream: _Stream) -> None:
        if stream.timer is not None:
            stream.timer.cancel()
            stream.timer = None

    # Batches, in the thread that runs them

    def _go(self, stream: _Stream, inline: bool) -> None:
        try:
            if stream.pending_first:
                self._create_group(stream)
                stream.pending_first = False
                self._run(stream, self._read(stream, "0"), inline, pending=True)
            elif not inline or stream.waiting >= self._arguments.batch:
                self._run(stream, self._read(stream, ">"), inline)
            if inline and stream.waiting >= self._arguments.batch:
                self._run(stream, self._read(stream, ">"), inline)
        except KeymissError as error:
            stream.busy = False
            stream.waiting = 0
            self._gears.shard.log(f"stream {stream.key!r} cannot be read: {error}", "warning")

    def _create_group(self, stream: _Stream) -> None:
        try:
            self._gears.shard.execute("XGROUP", "CREATE", stream.key, GROUP, "0", "MKSTREAM")
        except GearsError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _read(self, stream: _Stream, start: str) -> list[Any]:
        """The next entries of the group, or with "0" those that were read and not acknowledged."""
        batch = self._arguments.batch
        reply = self._gears.shard.execute(
            *("XREADGROUP", "GROUP", GROUP, CONSUMER, "COUNT", batch, "STREAMS", stream.key, start)
        )
        return list(reply[0][1]) if reply else []

    def _run(self, stream: _Stream, entries: list[Any], inline: bool, pending: bool = False) -> None:
        key = stream.key.decode(errors="surrogateescape")
        gone = [entry_id for entry_id, fields in entries if fields is None]  # pending, but trimmed meanwhile
        records = [stream_record(key, entry_id, fields) for entry_id, fields in entries if fields is not None]
        if gone:
            self._gears.shard.execute("XACK", stream.key, GROUP, *gone)
        if not records and not pending:
            stream.waiting = 0
            stream.busy = False
            return
        ids = [record["id"] for record in records]
        self._registration.run_records(
            RecordsSource(tuple(records)),
            self._context(current.get().job if inline else None),
            lambda execution: self._ended(stream, ids, execution, inline, pending),
        )

    def _ended(
        self, stream: _Stream, ids: list[str], execution: Execution, inline: bool, pending: bool
    ) -> None:
        failed = bool(execution.errors)
        if ids:
            now_ms = int(time.time() * 1000)
            lag = max(0, now_ms - int(ids[-1].partition("-")[0]))
            self._lags = (lag, self._lags[1] + lag, self._lags[2] + 1)
        if failed and self._arguments.policy == "abort":
            self._status = ABORTED
        elif failed and self._arguments.policy == "retry":
            self._status = WAITING
            self._gears.shard.call_soon(self._wait_for_retry, stream)
            return
        elif ids:
            self._acknowledge(stream, ids)
            if not pending:
                stream.waiting = max(0, stream.waiting - len(ids))
        if not inline:
            self._gears.shard.call_soon(self._go_on, stream)

    def _wait_for_retry(self, stream: _Stream) -> None:
        self._gears.shard.loop.call_later(self._arguments.retry_interval_s, self._retry, stream)

    def _retry(self, stream: _Stream) -> None:
        if self._stopped or self._status != WAITING:
            return
        self._status = OK
        stream.pending_first = True
        stream.waiting = max(1, stream.waiting)
        self._go_on(stream, complete=True)

    def _go_on(self, stream: _Stream, complete: bool = False) -> None:
        stream.busy = False
        self._consider(stream, complete)

    def _acknowledge(self, stream: _Stream, ids: list[str]) -> None:
        execute = self._gears.shard.execute
        try:
            execute("XACK", stream.key, GROUP, *ids)
            if self._arguments.trim:
                milliseconds, _, number = ids[-1].partition("-")
                execute("XTRIM", stream.key, "MINID", f"{milliseconds}-{int(number) + 1}")
        except GearsError as error:
            self._gears.shard.log(f"stream {stream.key!r} cannot be acknowledged: {error}", "warning")


def _as_pattern(prefix: str) -> str:
    """A glob pattern that matches what the prefix does."""
    exact = "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in prefix.removesuffix("*"))
    return exact + "*" if prefix.endswith("*") else exact
