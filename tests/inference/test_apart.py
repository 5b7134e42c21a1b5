"""Threads of a forward pass that follows a pause have cores of their own."""

from __future__ import annotations

import _thread
import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue

import pytest

from keymiss.backends import Array, Model
from keymiss.channel import NEVER, Tensor
from keymiss.inference import batcher
from keymiss.inference.apart import apart
from keymiss.inference.batcher import DeviceQueue
from keymiss.inference.policy import Rule
from keymiss.inference.request import Outcome, Request

CORES = os.sched_getaffinity(0)
DEADLINE_S = 20.0
ONE = Tensor.from_values("FLOAT", (1, 1), [1.0])

pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="there is one core")


@contextlib.contextmanager
def _of_a_library() -> Iterator[int]:
    """The id of a thread that Python does not know."""
    told: SimpleQueue[int] = SimpleQueue()
    ends = threading.Event()

    def live() -> None:
        told.put(threading.get_native_id())
        ends.wait(DEADLINE_S)

    _thread.start_new_thread(live, ())
    yield told.get(timeout=DEADLINE_S)
    ends.set()


@pytest.fixture
def of_a_library() -> Iterator[int]:
    with _of_a_library() as thread:
        yield thread


class Where(Model):
    """Notes which cores its passes may use."""

    inputs: tuple[str, ...] = ("x",)
    outputs: tuple[str, ...] = ("y",)
    weight_bytes = mapped_bytes = 0

    def __init__(self, threads_sleep: bool = True) -> None:
        self.threads_sleep = threads_sleep
        self.cores: list[set[int]] = []

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        self.cores.append(os.sched_getaffinity(0))
        return list(tensors)


def test_this_thread_stays_and_those_of_libraries_are_elsewhere(of_a_library: int) -> None:
    known = threading.Event()
    thread = threading.Thread(target=known.wait, args=[DEADLINE_S])
    thread.start()
    with apart():
        here = os.sched_getaffinity(0)
        assert len(here) == 1
        assert os.sched_getaffinity(of_a_library) == CORES - here
        assert thread.native_id is not None
        assert os.sched_getaffinity(thread.native_id) == CORES
    assert os.sched_getaffinity(0) == os.sched_getaffinity(of_a_library) == CORES
    known.set()
    thread.join(DEADLINE_S)


def test_it_ends_with_a_pass_that_fails(of_a_library: int) -> None:
    with pytest.raises(RuntimeError), apart():
        raise RuntimeError("the model failed")
    assert os.sched_getaffinity(0) == os.sched_getaffinity(of_a_library) == CORES


def test_what_is_bound_to_cores_stays_there(of_a_library: int) -> None:
    bound = {min(CORES)}
    os.sched_setaffinity(of_a_library, bound)
    with apart():
        assert os.sched_getaffinity(of_a_library) == bound
    assert os.sched_getaffinity(of_a_library) == bound


def test_a_thread_that_is_begun_inside_goes_where_it_wants_afterwards() -> None:
    with contextlib.ExitStack() as stack:
        with apart():
            begun = stack.enter_context(_of_a_library())
            assert os.sched_getaffinity(begun) == os.sched_getaffinity(0) != CORES
        assert os.sched_getaffinity(begun) == CORES


@pytest.mark.parametrize(
    ("pause_s", "threads_sleep", "helped"), [(0.0, True, True), (60.0, True, False), (0.0, False, False)]
)
def test_passes_behind_a_pause_are_helped(
    monkeypatch: pytest.MonkeyPatch, pause_s: float, threads_sleep: bool, helped: bool
) -> None:
    monkeypatch.setattr(batcher, "is_guest", lambda: True)
    monkeypatch.setattr(batcher, "_PAUSE_S", pause_s)
    monkeypatch.setattr(batcher, "_SHORT_S", 0.0)
    queue, model = DeviceQueue("CPU", threads=2), Where(threads_sleep)
    for _ in range(2):  # before the first one there was none
        outcome: SimpleQueue[Outcome] = SimpleQueue()
        queue.submit(Request(model, model, Rule(), [ONE], NEVER, outcome.put, lambda: False, off_loop=True))
        assert outcome.get(timeout=DEADLINE_S).error is None
    assert len(model.cores[1]) == (1 if helped else len(CORES))
