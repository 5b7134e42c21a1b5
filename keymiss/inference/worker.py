"""The worker's I/O: frames of one or many channels in, jobs to the store and the devices, answers out.

Everything here runs on the loop's thread, except `Job.done`, which a device's thread calls with the outcome.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import count

from keymiss.backends import Backends, Device
from keymiss.channel import Channel, Frame, Hello, Job, JobTable, Part, error_reply, gather, number
from keymiss.errors import BackendError, ChannelError, ModelError
from keymiss.inference.asking import Asker
from keymiss.inference.batcher import DeviceQueue
from keymiss.inference.figures import Figures
from keymiss.inference.frames import (
    OK,
    Answer,
    GraphParts,
    ModelParts,
    RunParts,
    ScriptParts,
    loaded,
    not_loaded,
    ran,
    ran_nothing,
)
from keymiss.inference.graph import Graph
from keymiss.inference.loan import Loan
from keymiss.inference.quick import QuickRuns
from keymiss.inference.quick_graphs import QuickGraphs
from keymiss.inference.request import refused
from keymiss.inference.runs import Run, Runner
from keymiss.inference.scripts import Script, Scripts
from keymiss.inference.store import Identity, Store
from keymiss.inference.telling import JobLog, follow_settings
from keymiss.inference.tracing import trace_of
from keymiss.logs import Lines
from keymiss.metrics.info import pairs
from keymiss.metrics.samples import Sample, sample
from keymiss.metrics.serving import DEFAULT_ADDRESS, MetricsServer, Place

log = logging.getLogger("keymiss.inference")

WATCH_INTERVAL_S = 1.0
HANG_TIMEOUT_MS = 30_000  # until HELLO says otherwise
_MAX_JOBS = 65536  # of one channel, until HELLO says otherwise
_MAX_DEVICES = 64


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Worker:
    """What all channels share: the models, the devices and their queues.

    `threads` is how many a forward pass may use, at most one a core; 0 leaves it to the first HELLO.
    `lines` is the form of its log, which follows the settings. `on_stuck` is called when a device is lost to
    a forward pass that does not end: only a new process has it back."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        threads: int,
        lines: Lines,
        on_stuck: Callable[[Exception], object],
    ) -> None:
        self.loop = loop
        self._thread = threading.get_ident()  # the loop's
        gather()  # an answer is written when its pass is over, not at the end of the turn
        self.lines = lines
        self._on_stuck = on_stuck
        self.hang_timeout_s = HANG_TIMEOUT_MS / 1000
        self.channels: set[ShardChannel] = set()
        self.loads: dict[Identity, int] = {}  # the number of each one's last LOAD: see Runner.key
        self._load_numbers = count(1)
        self.figures = Figures()
        self.labels: dict[Identity, str] = {}  # what metrics call them
        self._metrics = MetricsServer(self._text, log.info)
        self._place = Place()
        self._threads = threads
        self._store: Store | None = None
        self._scripts: Scripts | None = None
        self._devices: dict[Device, DeviceQueue] = {}

    def soon(self, call: Callable[..., object], *arguments: object) -> None:
        """Call it on the loop's thread, a little later. Every thread."""
        here = threading.get_ident() == self._thread  # it need not be woken, which is a system call
        (self.loop.call_soon if here else self.loop.call_soon_threadsafe)(call, *arguments)

    def attach(
        self, sock: socket.socket, on_end: Callable[[ShardChannel, Exception | None], None]
    ) -> ShardChannel:
        """Serve a channel from now on."""
        channel = ShardChannel(self, sock, on_end)
        self.channels.add(channel)
        return channel

    def greet(self, hello: Hello) -> None:
        """A server has introduced itself. The first one's settings are those of the process."""
        if self._store is None:
            wanted = self._threads or hello.setting("models-threads", 0)
            self._threads = min(wanted, cores()) if wanted > 0 else cores()
            backends = Backends(self._threads)
            self._store, self._scripts = Store(backends, self._forget_quick), Scripts(backends)
            self.hang_timeout_s = hello.setting("hang-timeout-ms", HANG_TIMEOUT_MS) / 1000
        self.keep_budget()
        self.serve_metrics()

    def serve_metrics(self) -> None:
        """Where the shards want them: those that want another place than the first one do not get it."""
        told = [channel.metrics_place for channel in self.channels]
        if not self._place.port or self._place not in told:
            self._place = min((place for place in told if place.port), default=Place())
            self._metrics.follow(*self._place)

    def _forget_quick(self) -> None:
        for channel in self.channels:
            channel.forget_quick()

    def keep_budget(self) -> None:
        """Of the shards that share this process, the one that allows the least memory for models counts."""
        if self._store is not None:
            told = [channel.models_memory for channel in self.channels]
            self._store.budget = min((memory for memory in told if memory > 0), default=0)
            self._store.make_room()

    @property
    def store(self) -> Store:
        if self._store is None:
            raise ChannelError("a job came before HELLO")
        return self._store

    @property
    def scripts(self) -> Scripts:
        if self._scripts is None:
            raise ChannelError("a job came before HELLO")
        return self._scripts

    def forget(self, channel: ShardChannel) -> None:
        """The channel has ended."""
        self.channels.discard(channel)
        self.serve_metrics()
        if self._store is not None:
            self._store.forget(channel)

    def stored(self, model: ModelParts) -> None:
        """A model is stored, maybe anew over the same key."""
        self.loads[model.identity] = next(self._load_numbers)
        self.labels[model.identity] = model.label

    def queue_of(self, device: Device) -> DeviceQueue:
        """The queue of a device. BackendError where there are too many: each has a thread."""
        if device not in self._devices:
            if len(self._devices) >= _MAX_DEVICES:
                raise BackendError(
                    f"{device} is one device too many: at most {_MAX_DEVICES} are used at once"
                )
            threads = self._threads if device.kind == "CPU" else 1
            self._devices[device] = DeviceQueue(str(device), self.loop.call_soon_threadsafe, threads)
            for queue in self._devices.values():
                queue.is_only = len(self._devices) == 1
        return self._devices[device]

    def samples(self) -> Iterator[Sample]:
        """What all its metrics are now. Every thread."""
        yield from self.figures.samples()
        for device, queue in list(self._devices.items()):
            yield sample("keymiss_batch_wait_seconds", queue.waits.snapshot(), str(device))
            yield sample("keymiss_models_queue_depth", queue.depth, str(device))
            yield sample("keymiss_device_busy_seconds_total", queue.busy_s, str(device))
        yield sample("keymiss_inference_threads", self._threads)
        yield sample("keymiss_inference_channels", len(self.channels))
        store = self._store
        if store is None:
            return
        models, counts = store.models, store.counts
        yield from self.figures.weights(
            (self.labels.get(identity, identity.digest), model.weight_bytes)
            for identity, model in models.items()
        )
        yield sample("keymiss_models_loaded", len(models))
        yield sample("keymiss_models_resident_bytes", store.resident_bytes)
        yield sample("keymiss_models_memory_limit_bytes", store.budget)
        yield sample("keymiss_model_loads_total", counts.loads)
        yield sample("keymiss_model_load_seconds_total", counts.loads_s)
        yield sample("keymiss_models_put_out_total", counts.put_out)
        yield sample("keymiss_models_brought_back_total", counts.brought_back)

    def _text(self) -> Callable[[], bytes]:
        from keymiss.metrics.exposition import Exposition

        return Exposition([self.samples], self._failed, dict).text

    def _failed(self, error: Exception) -> None:
        """A figure could not be read: the models are worth more."""
        log.warning("a metric could not be read: %s: %s", type(error).__name__, error)

    def info(self) -> list[Part]:
        """What INFO tells, each behind how many there are: for INFO keymiss the metrics; for INFO ai the
        versions of the libraries that are loaded and the CPU seconds of each device."""
        store = self._store
        told = pairs("models", self.samples())
        if store is not None:
            told["bytes_mapped"] = str(sum(model.mapped_bytes for model in store.models.values()))
        versions = dict(store.backends.versions) if store else {}  # loads add to it
        used = {str(device): f"{queue.cpu_s:.6f}" for device, queue in self._devices.items()}
        return [*_pairs(told), *_pairs(versions), *_pairs(used)]

    def watch(self) -> None:
        """Now and every second: send INFO where it has changed, and see that no device is stuck."""
        self.keep_budget()
        if self._store is not None:
            known = self._store.known
            self.loads = {identity: n for identity, n in self.loads.items() if identity in known}
            self.labels = {identity: label for identity, label in self.labels.items() if identity in known}
        told = self.info()
        for channel in list(self.channels):
            channel.tell(told)
        for device, queue in self._devices.items():
            if queue.stuck_s() > self.hang_timeout_s:
                self._on_stuck(ModelError(f"a forward pass on {device} does not end; nobody waits for it"))
        self.loop.call_later(WATCH_INTERVAL_S, self.watch)


class ShardChannel:
    """The channel of one shard."""

    def __init__(
        self, worker: Worker, sock: socket.socket, on_end: Callable[[ShardChannel, Exception | None], None]
    ) -> None:
        self._worker = worker
        self._on_end = on_end
        self._told: list[Part] = []
        handlers = {
            b"JOB": self._job,
            b"CANCEL": self._cancel,
            b"UNLOAD": self._unload,
            b"RESULT": self._result,
            b"SETTING": self._setting,
        }
        self._channel = Channel(sock, worker.loop, handlers, self._greet, self._ended, self._handled)
        self._log = JobLog(self._channel.hello)
        self._jobs = JobTable(self._channel, worker.loop)
        self._asker = Asker(self._channel)
        self._runner = Runner(worker, self, self._asker)
        loan = Loan(worker.loop)
        self._quick = QuickRuns(self._channel, self._runner, loan, self._failed)
        self._quick_graphs = QuickGraphs(self._channel, self._runner, loan)
        self._kinds = {b"RUN": self._run, b"LOAD": self._load, b"COMPILE": self._compile, b"DAG": self._dag}

    @property
    def models_memory(self) -> int:
        """Bytes that its server allows the weights of all models; 0: any."""
        return self._channel.hello.setting("models-memory", 0)

    @property
    def shard(self) -> str:
        """What metrics call its shard."""
        return self._channel.hello.shard_name

    @property
    def metrics_place(self) -> Place:
        """Where its server wants the metrics of this process."""
        hello = self._channel.hello
        return Place(
            hello.settings.get("metrics-address") or DEFAULT_ADDRESS, hello.setting("models-metrics-port", 0)
        )

    def log(self, level: str, line: bytes) -> None:
        """Write a line to the log of its server. Every thread."""
        self._channel.send(b"LOG", level, line)

    def _greet(self, hello: Hello) -> None:
        self._worker.greet(hello)
        self._follow_log_settings()

    def _follow_log_settings(self) -> None:
        follow_settings(self._worker.lines, self._channel.hello)
        self._log = JobLog(self._channel.hello)

    def forget_quick(self) -> None:
        """A model was put out, or may be gone."""
        self._quick.forget()
        self._quick_graphs.forget()

    def tell(self, info: list[Part]) -> None:
        if info != self._told and not self._channel.closed and self._channel.hello.role:
            self._told = info
            with suppress(ChannelError):  # a shard that reads nothing must not keep the others from theirs
                self._channel.send("INFO", *info)

    def _job(self, frame: Frame) -> None:
        if self._run_now(frame):
            return
        job = Job(frame, self._jobs)
        if len(self._jobs.waiting) >= self._channel.hello.setting("max-jobs", _MAX_JOBS):
            self._jobs.add(job)
            job.fail("BUSY too many jobs wait for the models worker")
            return
        self._jobs.add(job)
        start = self._kinds.get(job.kind)
        if start is not None:
            start(job)
        else:
            job.fail(f"ERR the models worker knows no job of kind {job.kind[:32]!r}")

    def _run_now(self, frame: Frame) -> bool:
        """Whether it was a job that could be done at once. Where all jobs are told, none is."""
        return not self._log.tells_all and (self._quick.run(frame) or self._quick_graphs.run(frame))

    def _failed(self, frame: Frame, error: bytes, took_s: float) -> None:
        """A RUN that was done at once has failed."""
        self._log.answered(frame, error, took_s)

    def _handled(self) -> None:
        self._quick.settle()

    def _cancel(self, frame: Frame) -> None:
        if len(frame) != 2:
            raise ChannelError("malformed CANCEL")
        self._jobs.cancel(number(frame[1]))

    def _unload(self, frame: Frame) -> None:
        if len(frame) != 2:
            raise ChannelError("malformed UNLOAD")
        self.forget_quick()
        self._worker.store.release(frame[1].decode("ascii", "replace"), self)

    def _setting(self, frame: Frame) -> None:
        self._channel.set(frame)
        self._follow_log_settings()
        self._worker.keep_budget()
        self._worker.serve_metrics()

    def _result(self, frame: Frame) -> None:
        self._asker.answered(frame)

    def _ended(self, reason: Exception | None) -> None:
        for job_id in list(self._jobs.waiting):
            self._jobs.cancel(job_id)
        self._runner.close()
        self._worker.forget(self)
        self._on_end(self, reason)

    # Jobs

    def _end(self, job: Job, answer: Answer) -> None:
        """Answer the job. Every thread."""
        with suppress(ChannelError):  # the shard is gone, and with it whoever waited
            if job.done(answer.reply, *answer.more):
                job.on_cancel = None  # a cycle, which would keep its model and tensors for long
                self._log.ended(job, answer.reply)

    def _load(self, job: Job) -> None:
        try:
            model = ModelParts.parse(job.parts, 4)
        except BackendError as error:
            self._end(job, not_loaded(str(error)))
            return
        self._worker.stored(model)
        self._runner.with_model(
            model,
            lambda ready: self._end(job, loaded(ready)),
            lambda error: self._end(job, not_loaded(str(error))),
        )

    def _run(self, job: Job) -> None:
        try:
            parts = RunParts.parse(job.parts, 4)
        except BackendError as error:
            self._end(job, ran(refused(error.reply)))
            return
        trace = trace_of(job)
        run = Run(
            job.deadline,
            lambda: job.finished,
            lambda outcome: self._end(job, trace.told_with(ran(outcome)) if trace else ran(outcome)),
            trace.seen if trace else None,
        )
        job.on_cancel = lambda: run.cancel and run.cancel()
        self._runner.model(parts.model, parts.outputs, parts.tensors, run)

    def _compile(self, job: Job) -> None:
        def ready(script: Script) -> None:
            script.check_entry_points(parts.entry_points)
            self._end(job, Answer(OK, ()))

        def fail(error: BackendError) -> None:
            self._end(job, Answer(error_reply(error.reply), ()))

        try:
            parts, _ = ScriptParts.parse(job.parts, 4)
        except BackendError as error:
            fail(error)
            return
        self._runner.with_script(parts, ready, fail)

    def _dag(self, job: Job) -> None:
        try:
            parts = GraphParts.parse(job.parts, 4)
        except BackendError as error:
            self._end(job, ran_nothing(error.reply))
            return
        graph = Graph(parts, job, self._runner, lambda answer: self._end(job, answer))

        def cancel() -> None:
            graph.cancel()
            self._asker.end(job)

        job.on_cancel = cancel
        graph.start()


def _pairs(values: Mapping[str, Part]) -> list[Part]:
    """`<n> (<name> <value>)*n` for a frame."""
    return [len(values), *(part for pair in values.items() for part in pair)]
