"""What the quick ways of the models worker are given in a process without one: a device that idles, and a
model that is loaded and known to be quick."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from keymiss.backends import Device, Model
from keymiss.channel import Frame, Part, encode
from keymiss.channel.frames import FrameReader
from keymiss.inference.batcher import DeviceQueue
from keymiss.inference.figures import Asked, ModelFigures


class Lent:
    """The channel, the worker, its loop and the runner."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.worker = self.loop = self
        self.queue = DeviceQueue("CPU")
        self.queue._costs.learn("m", 0.0)
        self.asked_for = Asked(ModelFigures("m", "CPU"), "s")
        self.flushed: list[int] = []  # writes before each flush
        self._given_back: list[Callable[[], object]] = []
        self._written: list[bytes] = []
        self._ids = count(1)

    def queue_of(self, device: Device) -> DeviceQueue:
        return self.queue

    def loaded(self, parts: object) -> Model:
        return self.model

    def key(self, parts: object) -> str:
        return "m"

    def asked(self, label: str, device: Device) -> Asked:
        return self.asked_for

    def call_soon(self, give_back: Callable[[], object]) -> None:
        self._given_back.append(give_back)

    def too_large(self, size: int, elements: int) -> str:
        return ""

    def write(self, answers: bytes) -> None:
        self._written.append(answers)

    def flush(self) -> None:
        self.flushed.append(len(self._written))

    def job(self, kind: str, *parts: Part) -> Frame:
        (frame,) = FrameReader().feed(encode("JOB", next(self._ids), kind, 0, *parts, "1"))
        return frame

    def answers(self) -> list[Frame]:
        """Of the jobs so far, in the order of their ids, once the device is given back."""
        while self._given_back:
            self._given_back.pop()()
        frames = sorted(FrameReader().feed(b"".join(self._written)), key=lambda frame: int(frame[1]))
        self._written.clear()
        return frames
