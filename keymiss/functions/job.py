"""Jobs of the functions worker, and what each part of them is (docs/channel.md says how they travel).

    kind      who waits                        goes to           reads
    COMMAND   the client of an RG.* command    Gears.run(job)    argv
    MISS      the client of a hooked command   Gears.fire(job)   registration, key, event, type, value, argv
    EVENT     nobody                           Gears.fire(job)   the same, argv is empty
    HOOKED    the client                       Gears.fire(job)   registration, argv

All are called on the loop's thread and must not block it: what is plain Python of a user goes to
the pool (`Shard.in_pool`), what is a coroutine is started there and then (`Shard.spawn`). A `sync`
job is the exception: the server's main thread waits for it, so it is run inline, whole, before the
call returns; it is given to its handler even while the loop's thread waits inside an `execute`.

Every job ends by exactly one `job.done(reply)` or `job.fail(text)`, from any thread; later calls
return False. `reply` is a RESP2 value (`replies.to_resp`). For MISS it may be b"": the client gets
its command's own reply, so an execution ends a miss by `job.done(job.overridden or b"")`. For EVENT
it is b"".

A handler that raises is answered for: the worker fails the job with the error's text.
"""

from __future__ import annotations

from keymiss.channel import Frame, Job, JobTable, Part, number
from keymiss.channel.stages import Stage, stages_part
from keymiss.errors import ChannelError
from keymiss.functions.pool import interruptible, shielded

COMMAND, MISS, EVENT, HOOKED = b"COMMAND", b"MISS", b"EVENT", b"HOOKED"

_DATABASE, _FLAGS, _ARGV = 4, 5, 6  # COMMAND: argv follows the flags
_REGISTRATION, _KEY, _EVENT, _TYPE, _VALUE, _EVENT_ARGV = 6, 7, 8, 9, 10, 12
_HOOKED_ARGV = 7
DEFAULT_MAX_RESULT_BYTES = 512 << 20
_LETTERS = b"smrtc"  # of the flags
_SMALL_REPLY = 1 << 10  # keymiss.max-result-bytes is never less
_SHORTEST = {COMMAND: _ARGV + 1, MISS: _EVENT_ARGV, EVENT: _EVENT_ARGV, HOOKED: _HOOKED_ARGV + 1}


class FunctionJob(Job):
    """One job. Its parts are looked at when asked for: a miss in the fast path needs few of them."""

    __slots__ = ("flags", "overridden", "stages")

    def __init__(self, frame: Frame, table: JobTable) -> None:
        super().__init__(frame, table)
        if len(frame) < _SHORTEST.get(self.kind, 1 << 30):
            raise ChannelError(f"malformed JOB of kind {self.kind[:32]!r}")
        self.flags = frame[_FLAGS]
        self.overridden: bytes | None = None  # what override_reply gave, as RESP2; the first call wins
        # What was marked (stage_times), told with DONE; None where nobody asks.
        self.stages: list[Stage] | None = [] if b"c" in self.flags else None

    def done(self, reply: bytes, *more: Part) -> bool:
        if len(reply) > _SMALL_REPLY:
            limit = self._table.channel.hello.setting("max-result-bytes", DEFAULT_MAX_RESULT_BYTES)
            if len(reply) > limit:
                return self.fail(
                    f"ERR the result has {len(reply)} bytes, {limit} are allowed (keymiss.max-result-bytes)"
                )
        if self.stages is not None:
            more = (*more, stages_part(self.stages))
        if not interruptible():
            return super().done(reply, *more)
        with shielded():
            return super().done(reply, *more)

    @property
    def sync(self) -> bool:
        """The server's main thread waits for this job and serves only its commands."""
        return b"s" in self.flags

    @property
    def may_await(self) -> bool:
        """It may go on in the background: nobody waits for it, or a client that can be kept waiting."""
        return not self.sync or self.kind == EVENT

    @property
    def in_multi(self) -> bool:
        """The client is inside MULTI or a script."""
        return b"m" in self.flags

    @property
    def on_replica(self) -> bool:
        """This shard is a read-only replica."""
        return b"r" in self.flags

    @property
    def database(self) -> int:
        """Where its commands are run."""
        return 0 if self.kind == EVENT else number(self.parts[_DATABASE])

    @property
    def command(self) -> int:
        """A number that is the same for all jobs which one command fired; 0 where it fired no other."""
        return 0 if self.kind == EVENT else self._number()

    @property
    def request(self) -> int:
        """The number that names its request (`Hello.request_name`); 0: it is nobody's.

        Beside the worker, where jobs have numbers of their own, the flags tell it."""
        digits = self.flags.lstrip(_LETTERS) if self.kind == COMMAND else b""
        return number(digits) if digits else self.id

    @property
    def cause(self) -> int:
        """Of an EVENT: the id of the job whose command made it happen; 0 where none did."""
        return self._number() if self.kind == EVENT else 0

    @property
    def cause_runs(self) -> bool:
        """That job has not ended."""
        return self.cause in self._table.waiting

    def _number(self) -> int:
        digits = self.flags.lstrip(_LETTERS)
        return number(digits) if digits else 0

    @property
    def registration(self) -> str:
        """The registration that is fired (MISS, EVENT, HOOKED)."""
        return self.registration_id.decode()

    @property
    def registration_id(self) -> bytes:
        return self.parts[_REGISTRATION]

    @property
    def key(self) -> bytes:
        return self.parts[_KEY]

    @property
    def event(self) -> str:
        return self.parts[_EVENT].decode("utf-8", "replace")

    @property
    def type(self) -> str:
        """As TYPE names it; `empty` where there is no key."""
        return self.parts[_TYPE].decode("utf-8", "replace")

    @property
    def value(self) -> bytes:
        """The key's value when the event happened, a RESP2 value; empty where it was not read."""
        return self.parts[_VALUE]

    @property
    def argv(self) -> list[bytes]:
        """The client's command, its name first; empty for EVENT."""
        if self.kind == COMMAND:
            return self.parts[_ARGV:]
        return self.parts[_HOOKED_ARGV:] if self.kind == HOOKED else self.parts[_EVENT_ARGV:]
