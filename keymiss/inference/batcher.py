"""A device and the jobs that wait for it.

Threads
1. `submit` and `cancel` are for the loop's thread; the thread that has the device chooses (see policy), runs
   and answers. One forward pass at a time; the next one starts without a turn through the loop. Quick models
   are run by the loop's thread, while the device idles or when nothing else waits for it: handing them over
   takes longer than they do.
2. Everything in here that several threads touch is guarded by one lock, which is never held during a forward
   pass or a write.
3. A request is answered exactly once, by the thread that ran it, unless it was cancelled while it waited. One
   that is cancelled while it runs is answered too; its channel drops the answer.
4. One thread has the device at a time. A script that waits for its shard lends it (`lent`): a spare thread
   goes on with what waits, and gives the device back between two batches when the script has its answer.
   Were it kept, a shard whose main thread itself waits for this device would never answer the script.
5. Answers are gathered (keymiss.channel.gathering) while the passes of one model are quick, for a moment at
   most. They are written before the thread waits, lends its device, or runs another model.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, thread_time
from typing import NamedTuple

from keymiss.backends import Model
from keymiss.channel import NEVER, Tensor, flush_gathered, gather
from keymiss.errors import BackendError
from keymiss.inference.forward import joinable, likeness, rows_of, run_together
from keymiss.inference.policy import Group, Rule, Shares, Waiting, next_batch

log = logging.getLogger("keymiss.inference")

_MAX_THREADS = 64  # of a device: one serves, the others are in scripts that wait for their shards
_KEPT_SPARES = 2  # threads that wait for the next script to lend the device
_QUICK_S = 0.0004  # what a pass of a quick model costs at most
_WAITING = 0.1  # what a second costs in which a pass does not compute: it may have had to wait for a core
_LATEST = 0.125  # weight of the latest pass in what a model costs
LONGEST_S = 0.02  # that the loop's thread runs quick models, and handles nothing else meanwhile
_MAX_KNOWN = 1024  # models whose cost is known
_GATHERED_S = 0.0005  # how long answers wait for those of the next pass, where that is quick


class Outcome(NamedTuple):
    """What became of a request: its outputs, or an error (code first), and what it adds to the counters of
    AI.INFO."""

    outputs: Sequence[Tensor]
    error: str | None
    duration_us: int
    calls: int
    samples: int
    errors: int


@dataclass(eq=False, slots=True)
class Request:
    """Tensors for a model, and where its outcome goes. Requests of one `model_key` may be joined as `rule`
    allows."""

    model: Model
    model_key: Hashable
    rule: Rule
    tensors: Sequence[Tensor]
    deadline_s: float
    answer: Callable[[Outcome], object]  # called on the device's thread
    abandoned: Callable[[], bool]  # nobody waits for it any more
    asks: bool = False  # it may wait for what the loop's thread reads


class DeviceQueue:
    """One device: what waits for it, and the threads that run it, which end with the process.

    `on_loop` calls a function on the loop's thread, from any thread; None: no thread runs quick models but
    that which submits them."""

    def __init__(self, name: str, on_loop: Callable[[Callable[[], object]], object] | None = None) -> None:
        self.batches = 0  # forward passes
        self.requests = 0  # answered
        self.cpu_s = 0.0  # time that its threads computed; not that of threads which a library adds
        self._name = name
        self._on_loop = on_loop
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # for the thread that has the device
        self._free = threading.Condition(self._lock)  # for those that want it
        self._held = False  # a thread has the device
        self._threads = self._spares = 0
        self._returning = 0  # scripts that want it back
        self._waiting: dict[Hashable, tuple[Group[Request], deque[Waiting[Request]]]] = {}
        self._shares = Shares()
        self._running: tuple[Sequence[Request], float] = ((), 0.0)  # the batch, and since when
        self._idle = False  # the thread that has the device waits for something to run
        self._lent_to_loop = False  # meanwhile the loop's thread has it
        self._drain_planned = False  # the loop's thread will see to what waits
        self._cost_s: dict[Hashable, float] = {}  # of a pass, by model
        self._written_s = 0.0  # when all answers were written
        self._start_thread()

    @property
    def depth(self) -> int:
        """Requests that wait."""
        with self._lock:
            return sum(len(waiting) for _, waiting in self._waiting.values())

    def stuck_s(self) -> float:
        """How long a forward pass runs that nobody waits for any more; 0 where that is not so."""
        batch, began_s = self._running
        wanted = not batch or not all(request.abandoned() for request in batch)
        return 0.0 if wanted else monotonic() - began_s

    def submit(self, request: Request) -> None:
        """Queue a request, or run it here and now. The caller bounds how many."""
        if self._may_run_here(request) and self.borrow():
            try:
                self._serve_batch((request,), clock=monotonic)  # which costs less to ask
            finally:
                self.give_back()
        else:
            with self._lock:
                self._enqueue(request)

    def _may_run_here(self, request: Request) -> bool:
        return (
            not request.rule.batchsize
            and not request.asks
            and self.is_quick(request.model_key)
            and request.deadline_s > monotonic()
        )

    def borrow(self) -> bool:
        """For the loop's thread: the device, where it idles and nobody wants it, until `give_back`. False too
        where that thread has it already: a DAG may have thousands of ops, each in the answer of another."""
        with self._lock:
            lends = self._idle and not self._lent_to_loop and not self._waiting and not self._returning
            self._lent_to_loop |= lends
            return lends

    def give_back(self) -> None:
        with self._lock:
            self._lent_to_loop = False
            if self._waiting or self._returning:
                self._changed.notify()

    @property
    def is_wanted(self) -> bool:
        """Whether requests wait. For the thread that has the device, which need not know it to the moment."""
        return bool(self._waiting or self._returning)

    def is_quick(self, model_key: Hashable) -> bool:
        """Whether its passes are done before they could be handed to another thread."""
        return self._cost_s.get(model_key, NEVER) <= _QUICK_S

    def ran(self, model_key: Hashable, passes: int, used_s: float) -> bool:
        """Count passes that the loop's thread has run, each alone, on the borrowed device. Together they took
        `used_s`. Whether the model is quick still."""
        self._learn_cost(model_key, used_s / passes)
        self.batches += passes
        self.requests += passes
        self.cpu_s += used_s
        return self.is_quick(model_key)

    def _enqueue(self, request: Request) -> None:
        """The lock is held."""
        key = _group_key(request)
        if key not in self._waiting:
            if not any(group.model == request.model_key for group, _ in self._waiting.values()):
                self._shares.join(request.model_key)
            waiting: deque[Waiting[Request]] = deque()
            rule = request.rule if joinable(request.tensors) else Rule()
            self._waiting[key] = (Group(request.model_key, rule, waiting), waiting)
        one = Waiting(request, rows_of(request.tensors), monotonic(), request.deadline_s)
        self._waiting[key][1].append(one)
        if self._idle:
            self._changed.notify()

    def cancel(self, request: Request) -> None:
        """Nobody waits for this request any more: it will not be run if it was not yet."""
        with self._lock:
            found = self._waiting.get(_group_key(request))
            if found is not None:
                for n, one in enumerate(found[1]):
                    if one.job is request:
                        del found[1][n]
                        break
                self._drop_empty()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """For a thread that runs a batch: let others have the device inside the `with`, and wait for it at
        its end. Where it would take too many threads the device is kept."""
        flush_gathered()
        with self._lock:
            lends = self._spares > 0 or self._threads < _MAX_THREADS
            if lends:
                if not self._spares:
                    self._start_thread()
                batch, began_s = self._running
                lent_s = monotonic()
                self._let_go()
        try:
            yield
        finally:
            if lends:
                with self._lock:
                    self._returning += 1
                    self._changed.notify()
                    while self._held:
                        self._free.wait()
                    self._returning -= 1
                    self._held = True
                    self._running = batch, began_s + monotonic() - lent_s  # what was lent is not used

    def _let_go(self) -> None:
        """The lock is held."""
        self._held = False
        self._running = (), 0.0
        self._free.notify_all()

    def _start_thread(self) -> None:
        """The lock is held, or nobody else knows this object yet."""
        self._threads += 1
        threading.Thread(target=self._serve, name=f"device {self._name}", daemon=True).start()

    def _wait_as_spare(self) -> bool:
        """Wait for the device, behind the scripts that want it back. False where there are spares enough. The
        lock is held."""
        if self._spares == _KEPT_SPARES:
            self._threads -= 1
            return False
        self._spares += 1
        while self._held or self._returning:
            self._free.wait()
        self._spares -= 1
        self._held = True
        return True

    def _serve(self) -> None:
        with self._lock:
            if not self._wait_as_spare():
                return
        gather()
        while True:
            batch = self._take(wait=False)
            if not batch or not self._may_gather(batch):
                flush_gathered()
                self._written_s = monotonic()
            batch = batch or self._take(wait=True)
            if not batch:
                return
            self._serve_batch(batch)

    def _may_gather(self, batch: Sequence[Request]) -> bool:
        """Whether the answers so far may wait for those of this batch."""
        return self.is_quick(batch[0].model_key) and monotonic() - self._written_s < _GATHERED_S

    def _serve_batch(self, batch: Sequence[Request], clock: Callable[[], float] = thread_time) -> None:
        """`clock` tells how long this thread has computed."""
        began_s, began_cpu_s = monotonic(), clock()
        self._running = batch, began_s
        try:
            self._run(batch, began_s)
        except Exception:  # the next batch is served
            log.exception("an answer was lost")
        used_s, cpu_s = monotonic() - self._running[1], clock() - began_cpu_s
        self._running = (), 0.0
        with self._lock:
            self._learn_cost(batch[0].model_key, max(cpu_s, _WAITING * used_s))
            self._shares.charge(batch[0].model_key, used_s)
            self.batches += 1
            self.requests += len(batch)
            self.cpu_s += cpu_s

    def _learn_cost(self, model: Hashable, cost_s: float) -> None:
        """The lock is held."""
        known_s = self._cost_s.get(model, cost_s)
        if len(self._cost_s) >= _MAX_KNOWN:
            self._cost_s.clear()
        self._cost_s[model] = known_s + _LATEST * (cost_s - known_s)

    def _run(self, batch: Sequence[Request], began_s: float) -> None:
        try:
            outputs = run_together(batch[0].model, [request.tensors for request in batch])
        except Exception as error:  # whatever a model does, the next one is served
            self._fail(batch, error)
        else:
            self._answer(batch, outputs, monotonic() - began_s)

    def _take(self, wait: bool) -> tuple[Request, ...]:
        """Take a batch out of its group. Empty where none is ready or, if it was to wait for one, where
        another thread has the device now."""
        with self._lock:
            while True:
                if self._lent_to_loop:
                    self._wait(NEVER)
                    continue
                if self._returning:
                    if not wait:
                        return ()
                    self._let_go()
                    if not self._wait_as_spare():
                        return ()
                drains = self._loop_drains()
                batch, wake_s = ((), NEVER) if drains else self._next()
                if batch or not wait:
                    return batch
                if drains and self._on_loop is not None and not self._drain_planned:
                    self._drain_planned = True
                    self._on_loop(self._drain)
                self._wait(wake_s)

    def _wait(self, until_s: float) -> None:
        """Wait for something to run. The lock is held."""
        self._idle = True
        self._changed.wait(None if until_s == NEVER else max(0.0, until_s - monotonic()))
        self._idle = False

    def _next(self) -> tuple[tuple[Request, ...], float]:
        """The batch to run now, taken out of its group, and if there is none when there may be. The lock is
        held."""
        decision = next_batch(
            (group for group, _ in self._waiting.values()), monotonic(), self._shares.used_s
        )
        if decision.group is None or decision.batch is None:
            return (), decision.wake_s
        waiting = decision.group.waiting
        assert isinstance(waiting, deque)
        for _ in range(decision.batch.taken):
            waiting.popleft()
        if not waiting:
            self._drop_empty()
        return decision.batch.jobs, NEVER

    def _loop_drains(self) -> bool:
        """Whether all that waits is for the loop's thread. The lock is held."""
        return (
            self._on_loop is not None
            and bool(self._waiting)
            and all(
                self.is_quick(group.model) and not group.rule.batchsize and not waiting[0].job.asks
                for group, waiting in self._waiting.values()
            )
        )

    def _drain(self) -> None:
        """The loop's thread: run what waits, while all of that is quick and the device idles."""
        until_s = monotonic() + LONGEST_S
        drained = False
        while not drained and monotonic() < until_s:
            with self._lock:
                self._drain_planned = False
                free = self._idle and not self._lent_to_loop and not self._returning
                batch = self._next()[0] if free and self._loop_drains() else ()
                self._lent_to_loop |= bool(batch)
                if not batch:
                    self._changed.notify()  # whatever is left is the device's
            if batch:
                self._serve_batch(batch, clock=monotonic)
                self.give_back()
            drained = not batch

    def _drop_empty(self) -> None:
        """The lock is held."""
        for key in [key for key, (_, waiting) in self._waiting.items() if not waiting]:
            model = self._waiting.pop(key)[0].model
            if not any(group.model == model for group, _ in self._waiting.values()):
                self._shares.leave(model)

    @staticmethod
    def _fail(batch: Sequence[Request], error: Exception) -> None:
        """An error of a batch is every request's error, and counts for each."""
        text = error_text(error)
        for request in batch:
            request.answer(Outcome((), text, duration_us=0, calls=1, samples=0, errors=1))

    @staticmethod
    def _answer(batch: Sequence[Request], outputs: Sequence[Sequence[Tensor]], duration_s: float) -> None:
        """A batch is one call and takes its time once: the first request says so."""
        first = True
        for request, tensors in zip(batch, outputs, strict=True):
            duration_us = round(duration_s * 1e6) if first else 0
            request.answer(
                Outcome(tensors, None, duration_us, int(first), rows_of(request.tensors), errors=0)
            )
            first = False


def _group_key(request: Request) -> Hashable:
    if not request.rule.batchsize or not joinable(request.tensors):
        return request.model_key, None
    return request.model_key, likeness(request.tensors)


def error_text(error: Exception) -> str:
    """What a client is told, code first."""
    if isinstance(error, BackendError):
        return error.reply
    return f"ERR the model failed: {type(error).__name__}: {error}"
