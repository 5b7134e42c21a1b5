"""A device and the jobs that wait for it.

Threads
1. `submit` and `cancel` are for the loop's thread; the thread that has the device chooses (see policy), runs
   and answers. The next pass starts without a turn through the loop. Quick models are run by the loop's
   thread, while the device idles or when nothing else waits for it: handing them over takes longer than they
   do.
2. Everything in here that several threads touch is guarded by one lock, which is never held during a forward
   pass or a write.
3. A request is answered exactly once, by the thread that ran it, unless it was cancelled while it waited. One
   that is cancelled while it runs is answered too; its channel drops the answer.
4. One thread has the device at a time. A script that waits for its shard lends it (`lent`): a spare thread
   goes on with what waits, and gives the device back between two batches when the script has its answer.
   Were it kept, a shard whose main thread itself waits for this device would never answer the script.
5. A pass has all cores while nothing else waits. Once it does, passes of models that can (`shares_device`)
   have a share of them each, and run beside each other: two passes of one core are done sooner than the same
   two one after the other, whose threads wait for each other at every step. The thread that has the device
   runs one, companions the others. They start only while it runs such a pass, and it starts no other kind
   before they have ended.
6. The threads of a pass with all cores that follows a pause are kept on cores of their own (see apart).
7. Answers are gathered (keymiss.channel.gathering) while the passes of one model are quick, for a moment at
   most. They are written before the thread waits, lends its device, or runs another model; those of a pass
   that took longer before anything else is done.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from time import monotonic, thread_time

from keymiss.channel import NEVER, Tensor, flush_gathered, gather
from keymiss.errors import BackendError
from keymiss.inference.apart import apart, is_guest
from keymiss.inference.costs import Costs
from keymiss.inference.figures import count_pass
from keymiss.inference.forward import rows_of, run_together
from keymiss.inference.line import Choice, Line
from keymiss.inference.request import Outcome, Request, failed
from keymiss.metrics.histogram import Histogram

log = logging.getLogger("keymiss.inference")

_MAX_THREADS = 64  # of a device: one serves, the others are in scripts that wait for their shards
_KEPT_SPARES = 2  # threads that wait for the next script to lend the device
_MAX_LANES = 4  # passes at the same time: with more, each one takes too long
_ALONE_AFTER = 2  # passes beside which nothing came: then one has all cores again
_SHORT_S = 0.001  # what a pass costs that is not worth sharing for
_QUICK_S = 0.0004  # what a pass of a quick model costs at most
_WAITING = 0.1  # what a second costs in which a pass does not compute: it may have had to wait for a core
LONGEST_S = 0.02  # that the loop's thread runs quick models, and handles nothing else meanwhile
_PAUSE_S = 0.01  # without a pass, behind which threads may be woken on one core
_AT_ONCE_S = 0.0003  # behind a pass of the loop's thread: what comes by then came while it ran
_GATHERED_S = 0.0005  # how long answers wait for those of the next pass, where that is quick


class DeviceQueue:
    """One device: what waits for it, and the threads that run it, which end with the process.

    `on_loop` calls a function on the loop's thread, from any thread; None: no thread runs quick models but
    that which submits them. A pass may use `threads` cores."""

    def __init__(
        self,
        name: str,
        on_loop: Callable[[Callable[[], object]], object] | None = None,
        threads: int = 1,
    ) -> None:
        self.busy_s = 0.0  # time that passes took; of those that shared the device, their share of it
        self.waits = Histogram()  # from when a request came until its pass began
        self.is_only = False  # there is no other device, which a pass on the loop's thread would keep idle
        self.cpu_s = 0.0  # time that its threads computed; not that of threads which a library adds
        self._name = name
        self._on_loop = on_loop
        self._cores = threads
        self._lanes = min(threads, _MAX_LANES)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # for the thread that has the device
        self._free = threading.Condition(self._lock)  # for those that want it
        self._shared = threading.Condition(self._lock)  # for companions
        self._held = False  # a thread has the device
        self._threads = self._spares = self._companions = 0
        self._returning = 0  # scripts that want it back
        self._line = Line(self._lanes)
        self._running: dict[int, tuple[Sequence[Request], float]] = {}  # by thread: its batch, and since when
        self._idle = False  # the thread that has the device waits for something to run
        self._sharing = False  # it runs a pass that others may run beside
        self._beside = 0  # companions that run one
        self._undisturbed = _ALONE_AFTER  # passes in a row beside which nothing came
        self._lent_to_loop = False  # meanwhile the loop's thread has it
        self._drain_planned = False  # the loop's thread will see to what waits
        self._costs = Costs()
        self._written_s = 0.0  # when all answers were written
        self._ended_s = 0.0  # when the latest pass ended
        self._ran_here_s = 0.0  # when the loop's thread was done with one of a model that is not quick
        self._start_thread()

    @property
    def depth(self) -> int:
        """Requests that wait."""
        with self._lock:
            return len(self._line)

    def stuck_s(self) -> float:
        """How long a forward pass runs that nobody waits for any more; 0 where that is not so."""
        with self._lock:
            running = list(self._running.values())
        now_s = monotonic()
        lost = (now_s - began_s for batch, began_s in running if all(one.abandoned() for one in batch))
        return max(lost, default=0.0)

    def submit(self, request: Request) -> None:
        """Queue a request, or run it here and now. The caller bounds how many."""
        if self._may_run_here(request) and self.borrow():
            try:
                self._serve_batch((request,), clock=monotonic)  # which costs less to ask
            finally:
                if not self.is_quick(request.model_key):
                    self._ran_here_s = monotonic()
                self.give_back()
        else:
            with self._lock:
                self._enqueue(request)

    def _may_run_here(self, request: Request) -> bool:
        """Whether the loop's thread is to run it: because to hand it over would take longer, or nobody has
        come beside the last passes, so that nobody is kept from anything."""
        now_s, rule = monotonic(), request.rule
        if now_s - self._ran_here_s < _AT_ONCE_S:
            self._undisturbed = 0
        if request.off_loop or request.deadline_s <= now_s or rule.minbatchsize > 1:
            return False
        if self.is_quick(request.model_key):
            return not rule.batchsize
        is_short = request.model.is_straight and self._costs.get(request.model_key) <= LONGEST_S
        return is_short and self.is_only and self._undisturbed >= _ALONE_AFTER

    def borrow(self) -> bool:
        """For the loop's thread: the device, where it idles and nobody wants it, until `give_back`. False too
        where that thread has it already: a DAG may have thousands of ops, each in the answer of another."""
        with self._lock:
            lends = self._is_free() and not self._line
            self._lent_to_loop |= lends
            return lends

    def _is_free(self) -> bool:
        """Whether the loop's thread could have it. The lock is held."""
        return self._idle and not self._lent_to_loop and not self._returning and not self._beside

    def give_back(self) -> None:
        with self._lock:
            self._lent_to_loop = False
            if self._line or self._returning:
                self._changed.notify()

    @property
    def is_wanted(self) -> bool:
        """Whether requests wait. For the thread that has the device, which need not know it to the moment."""
        return bool(self._line or self._returning)

    def is_quick(self, model_key: Hashable) -> bool:
        """Whether its passes are done before they could be handed to another thread."""
        return self._costs.get(model_key) <= _QUICK_S

    def ran(self, model_key: Hashable, passes: int, requests: int, used_s: float) -> None:
        """Count passes that the loop's thread has run for so many requests on the borrowed device. Together
        they took `used_s`."""
        self._costs.learn(model_key, used_s / passes)
        self.waits.add(0.0, requests)
        self.busy_s += used_s
        self.cpu_s += used_s

    def _enqueue(self, request: Request) -> None:
        """The lock is held."""
        request.came_s = monotonic()
        self._line.add(request, request.came_s)
        if self._running:
            self._undisturbed = 0
        if self._idle:
            self._changed.notify()
        elif self._sharing:
            self._wake_companions()

    def cancel(self, request: Request) -> None:
        """Nobody waits for this request any more: it will not be run if it was not yet."""
        with self._lock:
            self._line.remove(request)

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
                lent_s = monotonic()
                batch, began_s = self._running.pop(threading.get_ident())
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
                    # What was lent is not used.
                    self._running[threading.get_ident()] = batch, began_s + monotonic() - lent_s

    def _let_go(self) -> None:
        """The lock is held."""
        self._held = self._sharing = False
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
            self._serve_batch(batch, shares=self._sharing)

    def _may_gather(self, batch: Sequence[Request]) -> bool:
        """Whether the answers so far may wait for those of this batch."""
        return self.is_quick(batch[0].model_key) and monotonic() - self._written_s < _GATHERED_S

    def _accompany(self) -> None:
        """Run what may run beside the pass of the thread that has the device."""
        while True:
            with self._lock:
                while (choice := self._choose_beside()) is None:
                    self._shared.wait()
                batch = self._line.take(choice)
                self._beside += 1
            self._serve_batch(batch, shares=True)
            with self._lock:
                self._beside -= 1
                if self._idle:
                    self._changed.notify()

    def _choose_beside(self) -> Choice | None:
        """The lock is held."""
        if not self._sharing or self._returning or not self._line:
            return None
        choice = self._line.choose(monotonic())[0]
        return choice if choice is not None and self._can_share(choice) else None

    def _can_share(self, choice: Choice) -> bool:
        """Whether others may run beside it. Of short passes most is Python, which gains nothing by it. What a
        client has batched by BATCHSIZE runs by itself, as ever: so that what comes meanwhile is joined."""
        first = choice.requests[0]
        if self._lanes == 1 or not first.model.shares_device:
            return False
        if first.rule.batchsize and not choice.joins_lengths:
            return False
        return self._costs.get(first.model_key) > _SHORT_S

    def _serve_batch(
        self, batch: Sequence[Request], clock: Callable[[], float] = thread_time, shares: bool = False
    ) -> None:
        """`clock` tells how long this thread has computed; `shares`: it has a share of the cores."""
        thread, began_s, began_cpu_s = threading.get_ident(), monotonic(), clock()
        self._running[thread] = batch, began_s
        cores = self._cores // self._lanes if shares else self._cores
        with apart() if self._follows_pause(batch[0], cores, began_s) else nullcontext():
            result = _run(batch, cores)
        ended_s, cpu_s = monotonic(), clock() - began_cpu_s
        with self._lock:
            self._ended_s = ended_s
            used_s = ended_s - self._running.pop(thread)[1]
            if not self._running and not self._line:
                self._undisturbed += 1
        # Whoever is answered may ask again at once, and does not come beside this pass.
        try:
            for request in batch:
                if request.seen is not None:
                    request.seen(batch, began_s, ended_s)
            _answer(batch, result, ended_s - began_s)
            if used_s > _QUICK_S:
                flush_gathered()
        except Exception:  # the next batch is served
            log.exception("an answer was lost")
        # What is counted can wait, unlike those who are answered: they have other things to do meanwhile.
        with self._lock:
            self._costs.learn(batch[0].model_key, max(cpu_s, _WAITING * used_s))
            share = cores / self._cores
            lengths = self._line.ran(batch, used_s, share)
            self.cpu_s += cpu_s
            self.busy_s += used_s * share
            for request in batch:
                self.waits.add(began_s - (request.came_s or began_s))
            count_pass([request.asked for request in batch], used_s, *lengths, isinstance(result, Exception))

    def _follows_pause(self, request: Request, cores: int, now_s: float) -> bool:
        """Whether a pass is to have so many cores, and has to be helped to have them."""
        has_all = cores == self._cores > 1 and now_s - self._ended_s > _PAUSE_S
        is_long = self._costs.get(request.model_key) > _SHORT_S
        return has_all and is_long and request.model.threads_sleep and is_guest()

    def _take(self, wait: bool) -> tuple[Request, ...]:
        """Take a batch out of the line. Empty where none is ready or, if it was to wait for one, where
        another thread has the device now."""
        with self._lock:
            self._sharing = False
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
                choice, wake_s = (None, NEVER) if drains else self._line.choose(monotonic())
                if choice is not None:
                    may_share = self._can_share(choice)
                    if may_share or not self._beside:
                        batch = self._line.take(choice)
                        self._sharing = may_share and self._is_disturbed()
                        if self._sharing and self._line:
                            self._wake_companions()
                        return batch
                    wake_s = NEVER  # until they have ended
                if not wait:
                    return ()
                if drains and self._on_loop is not None and not self._drain_planned:
                    self._drain_planned = True
                    self._on_loop(self._drain)
                self._wait(wake_s)

    def _is_disturbed(self) -> bool:
        """Whether others want the cores as well: they do, they did while the last passes ran, or they run.
        The lock is held."""
        if self._beside or self._undisturbed < _ALONE_AFTER:
            return True
        return bool(self._line) and self._line.choose(monotonic())[0] is not None

    def _wake_companions(self) -> None:
        """The lock is held."""
        while self._companions < self._lanes - 1:
            self._companions += 1
            name = f"device {self._name} beside"
            threading.Thread(target=self._accompany, name=name, daemon=True).start()
        self._shared.notify_all()

    def _wait(self, until_s: float) -> None:
        """Wait for something to run. The lock is held."""
        self._idle = True
        self._changed.wait(None if until_s == NEVER else max(0.0, until_s - monotonic()))
        self._idle = False

    def _loop_drains(self) -> bool:
        """Whether all that waits is for the loop's thread. The lock is held."""
        return (
            self._on_loop is not None
            and bool(self._line)
            and all(
                self.is_quick(request.model_key) and not request.rule.batchsize and not request.off_loop
                for request in self._line.first_of_each_group()
            )
        )

    def _drain(self) -> None:
        """The loop's thread: run what waits, while all of that is quick and the device idles."""
        until_s = monotonic() + LONGEST_S
        drained = False
        while not drained and monotonic() < until_s:
            with self._lock:
                self._drain_planned = False
                drains = self._is_free() and self._loop_drains()
                choice = self._line.choose(monotonic())[0] if drains else None
                batch = () if choice is None else self._line.take(choice)
                self._lent_to_loop |= bool(batch)
                if not batch:
                    self._changed.notify()  # whatever is left is the device's
            if batch:
                self._serve_batch(batch, clock=monotonic)
                self.give_back()
            drained = not batch


def _run(batch: Sequence[Request], cores: int) -> Sequence[Sequence[Tensor]] | Exception:
    """The outputs of each, or why there are none."""
    model = batch[0].model
    try:
        model.take_threads(cores)
        return run_together(model, [request.tensors for request in batch])
    except Exception as error:  # whatever a model does, the next one is served
        return error


def _answer(
    batch: Sequence[Request], result: Sequence[Sequence[Tensor]] | Exception, duration_s: float
) -> None:
    """A batch is one call and takes its time once: the first request says so. An error of a batch is every
    request's error, and counts for each."""
    if isinstance(result, Exception):
        text = error_text(result)
        for request in batch:
            request.answer(failed(text))
        return
    first = True
    for request, tensors in zip(batch, result, strict=True):
        duration_us = round(duration_s * 1e6) if first else 0
        request.answer(Outcome(tensors, None, duration_us, int(first), rows_of(request.tensors), errors=0))
        first = False


def error_text(error: Exception) -> str:
    """What a client is told, code first."""
    if isinstance(error, BackendError):
        return error.reply
    return f"ERR the model failed: {type(error).__name__}: {error}"
