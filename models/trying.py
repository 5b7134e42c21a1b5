"""A form of a model in a process of its own, as the models worker would run it: how fast it is, what it
answers.

`python -m keymiss_deploy.models.trying FORM FOLDER DEVICE THREADS` answers each line of JSON by one. What
another form's library does to its process, its threads and its allocator, is not measured with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from keymiss.backends import Array, Backends, Device, Model
from keymiss.inference.allocator import restart_with_jemalloc
from keymiss.inference.openmp import spin_briefly
from keymiss.qa import Encoder

from .export import Exported
from .forms import FORMS, Form
from .score import predict
from .squad import Example, Gold

_TOKENS = 64  # of a question with a sentence or two
_ROWS = 8  # of each of several passes side by side


class Speed(NamedTuple):
    """Milliseconds."""

    alone_ms: float  # of one question, nothing else running
    shared_ms: float  # of each question, where as many passes run as the device takes


class FormFailed(Exception):
    """This form does not run here; the text says why."""


class Trial:
    """A form that runs in another process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def time(self, seconds: float) -> Speed:
        """About twice `seconds` of passes; the fastest counts, since others may want the processor."""
        return Speed(*self._ask({"seconds": seconds}))

    def answers(self, asked: Sequence[Example]) -> list[str]:
        answers: list[str] = self._ask({"asked": [(example.question, example.context) for example in asked]})
        return answers

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended, as the next line says
            print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise FormFailed(f"its process ended with status {self._process.wait()}")
        answer = json.loads(line)
        if isinstance(answer, dict):
            raise FormFailed(answer["error"])
        return answer


@contextmanager
def trial(form: Form, exported: Exported, device: str, threads: int) -> Iterator[Trial]:
    """The form in a process that is gone at the end. FormFailed, then or later, where it does not run."""
    arguments = [form.name, str(exported.folder), device, str(threads)]
    command = [sys.executable, "-m", __spec__.name, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Trial(process)
        finally:
            process.kill()


def main(form: str, folder: str, device: str, threads: str) -> None:
    restart_with_jemalloc()
    spin_briefly()
    exported, count = Exported(Path(folder)), int(threads)
    failed, model = "", None
    try:
        backend = Backends(count)[FORMS[form].backend]
        model = backend.load(exported.model(form), Device.parse(device), (), ())
    except Exception as error:  # whatever keeps it from running is told
        failed = str(error)
    for line in sys.stdin:
        answer: object = {"error": failed}
        if model is not None:
            try:
                answer = _serve(json.loads(line), model, exported, count)
            except Exception as error:
                answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


def _serve(request: dict[str, Any], model: Model, exported: Exported, threads: int) -> object:
    if "seconds" in request:
        alone_ms = _fastest_ms(model, 1, request["seconds"])
        return alone_ms, _side_by_side_ms(model, threads, request["seconds"]) / _ROWS
    asked = [Example(question, context, (Gold("", 0),)) for question, context in request["asked"]]
    return [answer.text for answer in predict(model.run, Encoder.from_file(exported.tokenizer), asked)]


def _side_by_side_ms(model: Model, threads: int, seconds: float) -> float:
    """Milliseconds a pass: so many passes at once, on a thread each, where the model gains from that."""
    lanes = threads if model.shares_device else 1
    if lanes == 1:
        return _fastest_ms(model, _ROWS, seconds)
    found: list[float] = []

    def run() -> None:
        model.take_threads(1)
        found.append(_fastest_ms(model, _ROWS, seconds))

    running = [threading.Thread(target=run) for _ in range(lanes)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if len(found) < lanes:
        raise RuntimeError("a pass beside others failed")
    return max(found) / lanes


def _fastest_ms(model: Model, rows: int, seconds: float) -> float:
    """Of the passes in so many seconds, three at least."""
    inputs = _inputs(rows)
    fastest_s, passes = float("inf"), 0
    end_s = perf_counter() + seconds
    while passes < 3 or perf_counter() < end_s:
        began_s = perf_counter()
        model.run(inputs)
        fastest_s = min(fastest_s, perf_counter() - began_s)
        passes += 1
    return fastest_s * 1e3


def _inputs(rows: int) -> list[Array]:
    """What is in them costs nothing."""
    ones = np.ones((rows, _TOKENS), np.int64)
    return [ones.copy(), ones.copy(), ones.copy()]


if __name__ == "__main__":
    main(*sys.argv[1:])
