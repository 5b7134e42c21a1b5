"""The shard this worker works for: the one object through which functions reach it (`context.shard()`).

Threads
1. One thread runs the loop and is the only reader of the channel. It runs coroutines, `sync` jobs
   and the handlers of frames. Plain functions run in the pool (`in_pool`), a few threads; functions
   may start threads of their own.
2. `execute`, `call`, `run_model`, `begin`, `end`, `hook`, `unhook`, `send` and `log` are for every
   thread. They block their caller until the answer is there or the deadline passes. On the loop's
   thread that means: it reads frames itself until then (`Channel.read_until`), keeps jobs that
   arrive for later, but runs `sync` jobs at once, since the server waits.
3. `execute_async` and `run_model_async` block nobody: what they return is awaited, by a coroutine.
4. `spawn` is for the loop's thread only; `in_pool` for every thread; `call_soon` brings any thread
   back to the loop.
5. A command belongs to the job of the context that runs it (`context.current`), which gives it its
   database and, inside `begin`/`end`, the server's undivided attention. One section is open at a
   time in a worker; others wait for it.
6. A coroutine must not await inside a section: the section is ended for it where it does, as soon
   as anything else on the loop's thread needs the server, so that nothing can lock up.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from time import monotonic
from types import MappingProxyType
from typing import Any, TypeVar

from keymiss.channel import (
    NEVER,
    Channel,
    Frame,
    Hello,
    JobTable,
    Part,
    Tensor,
    deadline_after_ms,
    encode,
    number,
    parse_tensors,
    remaining_ms,
    remaining_s,
    tensor_parts,
)
from keymiss.errors import ChannelError, DeadlineError, GearsError
from keymiss.functions import replies
from keymiss.functions.answers import Answer, Pending, to_value, to_value_or_error
from keymiss.functions.context import NOBODY, Context, current
from keymiss.functions.job import FunctionJob
from keymiss.functions.limits import Limits
from keymiss.functions.log import Log
from keymiss.functions.nodes import first_slot, parse_nodes
from keymiss.functions.output import Allowance
from keymiss.functions.pool import Pool, Ticket, interruptible, shielded
from keymiss.functions.sections import Sections
from keymiss.functions.tasks import guarded, start_now
from keymiss.hashtags import hash_tag_of

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

DEFAULT_JOB_TIMEOUT_MS = 30_000
DEFAULT_SYNC_TIMEOUT_MS = 5000
DEFAULT_THREADS = 3
HASH_TAG_S = 1.0
SMALL_FRAME = 1 << 16
SECTION_OVER = "the atomic block took too long (keymiss.sync-timeout-ms): others were served before its end"
_RUN_TENSORS = slice(4, None)  # of the parts of a RUN: see _run_parts
_ELEMENT_BYTES = 26  # what an element of a frame adds at most to its own bytes


class Shard:
    """See the top of this file. `config` is what RG.CONFIGSET keeps for `configGet`."""

    def __init__(self, channel: Channel, loop: asyncio.AbstractEventLoop) -> None:
        self.channel = channel
        self.loop = loop
        self.pool = Pool(DEFAULT_THREADS)
        self.config: dict[str, str] = {}
        self.allowance = Allowance()  # for what functions print and log
        self.limits: Limits
        self.jobs: JobTable
        self._log = Log(channel)
        self._numbers = itertools.count(1)
        self._asked: dict[int, Answer] = {}
        self._suspended: set[asyncio.Task[Any]] = set()  # the loop itself holds tasks by weak references only
        self._sections = Sections(channel, lambda text: self.log(text, "warning"))  # invariants 5 and 6
        self._hash_tag = ("", 0.0)  # and the time until when it is taken for true

    # Who the shard is

    @property
    def hello(self) -> Hello:
        return self.channel.hello

    @property
    def node(self) -> str:
        """The shard's node id: 40 hex digits, zeros where there is no cluster."""
        return self.hello.node

    @property
    def is_cluster(self) -> bool:
        return self.hello.cluster

    @property
    def is_replica(self) -> bool:
        return self.setting("replica", 0) == 1

    def setting(self, name: str, default: int) -> int:
        return self.hello.setting(name, default)

    def hash_tag(self) -> str:
        """The shortest string that hashes to the first slot of this shard: "06S" where there is no cluster.

        Slots move, so it is asked for again when it is older than a second; not by CLUSTER SLOTS: Valkey 8.0
        crashes where a module asks for that before any client did.
        """
        tag, fresh_until = self._hash_tag
        if monotonic() < fresh_until:
            return tag
        slot = first_slot(parse_nodes(self.execute("CLUSTER", "NODES"))) if self.is_cluster else 0
        tag = hash_tag_of(slot)
        self._hash_tag = (tag, monotonic() + HASH_TAG_S)
        return tag

    # Running commands

    def execute(self, *argv: Any) -> Any:
        """Run a command in the shard, hooks off; its reply as functions see values.

        GearsError where it is an error.
        """
        return to_value(self.call([replies.argument(arg) for arg in argv]))

    def call(self, argv: Sequence[bytes]) -> bytes:
        """As `execute`, raw: the reply is a RESP2 value, errors too."""
        return self.ask(b"CALL", *argv)

    def execute_all(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """As `execute` of each, in this order, but sent in one go; an error stands in its reply's place."""
        job = self._job_id()
        frames = self._ask_all(b"CALL", [(job, *map(replies.argument, command)) for command in commands])
        return [to_value_or_error(self._result(frame)) for frame in frames]

    def ask(self, verb: bytes, *parts: Part) -> bytes:
        """Any question about the job that runs, answered by a RESULT: its reply, raw."""
        return self._result(self._ask(verb, self._job_id(), *parts))

    def ask_async(self, verb: bytes, *parts: Part) -> Pending[bytes]:
        """As `ask`, for coroutines."""
        return self._ask_async(self._result, verb, self._job_id(), *parts)

    def forward(
        self, context: Context, verb: bytes, parts: Sequence[Part], give: Callable[[Frame], object]
    ) -> None:
        """Ask for a function of `context` that runs in another process; `give` gets the answer's frame.

        The loop's thread only.
        """
        sequence = next(self._numbers)
        answer = Answer(lambda: give(answer.frame or []))
        token = current.set(context)
        try:
            self._asked[sequence] = answer
            self._send(verb, (sequence, (self._job_id(), *parts)))
        except BaseException:
            del self._asked[sequence]
            raise
        finally:
            current.reset(token)

    def execute_async(self, *argv: Any) -> Pending[Any]:
        """As `execute`, for coroutines: the command is sent at once, its reply is to be awaited."""
        return self.call_async([replies.argument(arg) for arg in argv]).then(to_value)

    def call_async(self, argv: Sequence[bytes]) -> Pending[bytes]:
        """As `call`, for coroutines."""
        return self.ask_async(b"CALL", *argv)

    def begin(self) -> None:
        """From here to `end` the server serves nobody but the current context.

        GearsError where that is so already.
        """
        context = current.get()
        if context is NOBODY:  # a thread that a function started: from now on it is told from others
            context = Context()
            current.set(context)
        context = context.holder
        if context.atomic:
            raise GearsError("Already inside an atomic block")
        if self._sections.holder is context:  # a sync run: the server serves nobody else as it is
            if not self._sections.is_over:
                context.atomic = True
                return
            self._sections.close()
        section = self._sections.open(context, self._deadline())
        context.atomic = True
        try:
            replies.from_resp(self._result(self._ask(b"BEGIN", section)))
            self._section_begun()
        except BaseException:
            self._sections.close()
            raise

    def _section_begun(self) -> None:
        self._sections.begun(self.setting("sync-timeout-ms", DEFAULT_SYNC_TIMEOUT_MS))

    @property
    def atomic(self) -> bool:
        """The current context is between `begin` and `end`, and the server serves nobody else."""
        return current.get().holder.atomic and not self._sections.is_over

    def _serve_alone(self, context: Context) -> None:
        """The first command of a sync run follows. The server keeps the order: no answer is waited for."""
        self.channel.send(b"BEGIN", next(self._numbers), self._sections.open(context, self._deadline()))
        self._section_begun()

    def end_alone(self, context: Context) -> None:
        """A sync run has ended, or goes on in the background."""
        context.alone = False
        if self._sections.holder is context:
            self._sections.close()

    def end(self) -> None:
        """Close what `begin` opened. GearsError where the server has done so before."""
        context = current.get().holder
        if self._sections.holder is not context:
            raise GearsError(
                "the atomic block ended when its coroutine awaited: an atomic block must not await"
            )
        context.atomic = False
        is_over = self._sections.is_over
        if not context.alone:
            self._sections.close()
        if is_over:
            raise GearsError(SECTION_OVER)

    # Models

    def run_model(self, key: bytes, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Run the model at `key`. GearsError with the backend's error."""
        return self._outputs(self._ask(b"RUN", *self._run_parts(key, inputs)))

    def run_model_async(self, key: bytes, inputs: Sequence[Tensor]) -> Pending[list[Tensor]]:
        """As `run_model`, for coroutines: it is started at once, the outputs are to be awaited."""
        return self._ask_async(self._outputs, b"RUN", *self._run_parts(key, inputs))

    def _run_parts(self, key: bytes, inputs: Sequence[Tensor]) -> list[Part]:
        return [self._job_id(), remaining_ms(self._deadline()), key, *tensor_parts(inputs)]

    # Registrations, other shards, the server's log

    def hook(
        self,
        registration: str,
        blob: bytes,
        *,
        kind: str,
        mode: str,
        flags: str = "",
        prefix: bytes = b"",
        events: Sequence[str] = (),
        types: Sequence[str] = (),
        commands: Sequence[str] = (),
    ) -> None:
        """Add a registration, or replace the one of that id. See docs/channel.md for the fields."""
        lists: list[Part] = []
        for names in (events, types, commands):
            lists += [len(names), *names]
        self._change(b"HOOK", registration, blob, kind, mode, flags, prefix, *lists)

    def unhook(self, registration: str) -> None:
        """Remove a registration."""
        self._change(b"UNHOOK", registration)

    def _change(self, verb: bytes, *parts: Part) -> None:
        """The server may do it long after a deadline (`CLIENT PAUSE`): who asked is to know what it did."""
        with shielded():
            answer = self._ask_all(verb, (parts,), NEVER)[0]
        replies.from_resp(self._result(answer))

    def send(self, node: str, payload: bytes) -> None:
        """Give `payload` to the functions worker of another shard (`peers.receive`).

        GearsError where it cannot be sent.
        """
        replies.from_resp(self._result(self._ask(b"SEND", node, payload)))

    def follow_log_settings(self) -> None:
        """HELLO and SETTING: what is logged, and in which form."""
        self._log.follow(self.hello)

    def log(
        self,
        message: str,
        level: str = "notice",
        event: str = "log",
        fields: Mapping[str, str | int] = MappingProxyType({}),
        job: FunctionJob | None = None,
    ) -> None:
        """Write a line to the server's log, about the request of `job`, else of the function that runs.

        The level is debug, verbose, notice or warning. See docs/tracing.md for `event`; `fields` are what
        programs want to know."""
        if not self._log.wants(level):
            return
        whose = job or current.get().job
        request = self.hello.request_name(whose.request) if whose is not None else ""
        self._log.write(level, message, event, fields, request)

    # Running functions

    def spawn(
        self,
        coroutine: Coroutine[Any, Any, T],
        context: Context,
        then: Callable[[asyncio.Task[T]], object] | None = None,
    ) -> asyncio.Task[T]:
        """Start a coroutine with `context` as the current one: it runs at once, up to its first await.

        `then(task)` is called when it is done, before `spawn` returns where it never waited. The
        loop's thread only.
        """
        task = start_now(self.loop, guarded(coroutine), context)
        if task.done():
            if then is not None:
                then(task)
            return task
        context.add_running(task)
        self._suspended.add(task)

        def ended(task: asyncio.Task[T]) -> None:
            context.running.discard(task)
            self._suspended.discard(task)
            if then is not None:
                then(task)

        task.add_done_callback(ended)
        return task

    def in_pool(self, function: Callable[[], object], context: Context) -> Ticket:
        """Run a plain function in a thread of the pool with `context` as the current one.

        It reports what it returns or raises by itself, and lets `keymiss.functions.errors.Aborted` pass.
        BusyError where too many wait.
        """

        def ended() -> None:
            context.running.discard(ticket)
            self._sections.abandon(context)

        ticket = Ticket(function, context, ended)
        context.add_running(ticket)
        self.pool.put(ticket)
        return ticket

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        """Call it on the loop's thread, soon. Every thread."""
        if self.channel.on_loop_thread:
            self.loop.call_soon(function, *args)
        else:
            self.loop.call_soon_threadsafe(function, *args)

    def on_loop(self, function: Callable[..., object], *args: object) -> None:
        """Call it on the loop's thread: now where this is it, else soon. Every thread."""
        if self.channel.on_loop_thread:
            function(*args)
        else:
            self.loop.call_soon_threadsafe(function, *args)

    # Answers from the server, on the loop's thread

    def on_answer(self, frame: Frame) -> None:
        """RESULT and OUTPUTS. An answer that nobody waits for any more is ignored."""
        answer = self._asked.pop(number(frame[1]), None)
        if answer is not None:
            answer.give(frame)

    def on_end(self) -> None:
        """The channel has ended: nobody gets an answer any more."""
        while self._asked:
            self._asked.popitem()[1].give([])

    # Asking

    def _ask(self, verb: bytes, *parts: Part) -> Frame:
        """Send a frame with a new number and wait for its answer."""
        return self._ask_all(verb, (parts,))[0]

    def _ask_all(
        self, verb: bytes, questions: Sequence[Sequence[Part]], deadline: float | None = None
    ) -> list[Frame]:
        """Send each with a new number, all at once, and wait for the answers to all, by default until the
        job's deadline.
        """
        if not questions:
            return []
        on_loop = self.channel.on_loop_thread
        if deadline is None:
            deadline = self._deadline()
        if on_loop:
            self._sections.close_suspended()
        arrived = threading.Lock()
        arrived.acquire()
        missing = len(questions)

        def wake() -> None:
            nonlocal missing
            missing -= 1
            if not missing:
                arrived.release()

        asked = {next(self._numbers): Answer(wake) for _ in questions}
        self._asked |= asked
        try:
            with shielded():
                self._send(verb, *zip(asked, questions, strict=True))
            if on_loop:
                self.channel.read_until(lambda: not missing, deadline)
            else:
                timeout_s = remaining_s(deadline)
                if not arrived.acquire(timeout=-1 if timeout_s is None else timeout_s):
                    raise DeadlineError("the deadline passed before the server answered")
        except DeadlineError as error:
            raise GearsError(str(error)) from None
        finally:
            for sequence in asked:
                self._asked.pop(sequence, None)
        return [self._checked(answer.frame) for answer in asked.values()]

    def _ask_async(self, convert: Callable[[Frame], T], verb: bytes, *parts: Part) -> Pending[T]:
        sequence = next(self._numbers)
        pending = Pending(self.loop, convert)
        answer = Answer(lambda: pending.settle(answer.frame or [], now=not self.channel.nesting))
        self._asked[sequence] = answer
        if interruptible():
            with shielded():
                self._send(verb, (sequence, parts))
        else:  # the loop's thread is none of the pool's
            self._send(verb, (sequence, parts))
        return pending

    def _send(self, verb: bytes, *questions: tuple[int, Sequence[Part]]) -> None:
        context = current.get().holder
        if context.atomic and self._sections.is_over and verb in (b"CALL", b"RUN"):
            raise GearsError(SECTION_OVER)
        if context.alone and self._sections.holder is not context and verb in (b"CALL", b"RUN"):
            self._serve_alone(context)
        if verb == b"RUN":
            for sequence, parts in questions:
                size = sum(map(len, parts[_RUN_TENSORS]))  # type: ignore[arg-type]  # none of them is a number
                self._check_size("a run", size + _ELEMENT_BYTES * len(parts), len(parts))
                small = size < SMALL_FRAME
                send = self.channel.send if small else self.channel.send_large
                send(verb, sequence, *parts)
            return
        frames = [self._frame(verb, sequence, *parts) for sequence, parts in questions]
        if verb == b"CALL" and questions[0][1][0] == 0 and self._sections.holder is not context:
            # The server cannot tell commands of no job from those of a section of no job: not in between.
            with self._sections.none_open(self._deadline()):
                self.channel.write(*frames)
        else:
            self.channel.write(*frames)

    def _frame(self, *parts: Part) -> bytes:
        frame = encode(*parts)
        self._check_size("a command", len(frame), len(parts))
        return frame

    def _check_size(self, what: str, size: int, elements: int) -> None:
        if wrong := self.channel.too_large(size, elements):
            raise GearsError(f"{what} is too long: it has {wrong}")

    @staticmethod
    def _checked(frame: Frame | None) -> Frame:
        if not frame:
            raise ChannelError("the channel has ended")
        return frame

    @staticmethod
    def _result(frame: Frame) -> bytes:
        if len(frame) != 3:
            raise GearsError("the channel has ended")
        return frame[2]

    @staticmethod
    def _outputs(frame: Frame) -> list[Tensor]:
        replies.from_resp(Shard._checked(frame)[2])
        return parse_tensors(frame, 3)[0]

    def _job_id(self) -> int:
        context = current.get()
        if self._sections.holder is context.holder:
            return self._sections.job
        job = context.job
        return 0 if job is None or job.finished else job.id

    def _deadline(self) -> float:
        job = current.get().job
        if job is not None and not job.finished and job.deadline != NEVER:
            return job.deadline
        return deadline_after_ms(self.setting("job-timeout-ms", DEFAULT_JOB_TIMEOUT_MS))
