"""A model called directly: in a Python process of its own, as one would without a server.

`python -m keymiss_deploy.bench.answering CALLED.json` answers questions one at a time, those of other
clients waiting in a queue: the way of the original, which never batched. Paragraphs are tokenised before, as
in a shard; a question is tokenised, put to the model in its exact length, and answered by the best span.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from threading import Thread
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from keymiss.backends import Backends, Device
from keymiss.inference.allocator import restart_with_jemalloc
from keymiss.inference.openmp import spin_briefly
from keymiss.qa import Encoder, Window, answer_of

from . import workload
from .answered import Answered, Asking
from .dialog import answer_each, dialog

ORIGINAL = "original"  # as a backend: TorchScript as RedisAI ran it, without anything that Keymiss does to it
ANSWER_DEADLINE_S = 60.0

Row = npt.NDArray[np.int64]
Logits = Callable[[Sequence[Row]], Sequence[npt.NDArray[np.float32]]]


@dataclass(frozen=True)
class Called:
    """What is called: a model's file, the backend and the tensors' names as AI.MODELSTORE takes them, and
    where tokenizer and questions are."""

    model: str
    backend: str
    inputs: list[str]
    outputs: list[str]
    tokenizer: str
    items: str
    threads: int


class Direct:
    """The parent's side of the process."""

    def __init__(self, ask: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._ask = ask

    def ask(self, asking: Asking) -> Answered:
        """Ask from the first question on, and round and round."""
        return Answered(**self._ask({"asking": asking._asdict(), "what": "questions"}))

    def forward(self, asking: Asking) -> Answered:
        """The same inputs through the model alone, one at a time."""
        return Answered(**self._ask({"asking": asking._asdict(), "what": "forward"}))

    def ask_once(self) -> Answered:
        """Ask each question once, and keep the answers."""
        return Answered(**self._ask({"asking": Asking(0.0)._asdict(), "what": "answers"}))


@contextmanager
def answering(called: Called, folder: Path) -> Iterator[Direct]:
    """The process, gone at the end. `folder` takes the file that tells it what to call."""
    told = folder / f"called-{called.backend}.json"
    told.write_text(json.dumps(asdict(called)))
    with dialog(__spec__.name, str(told)) as ask:
        yield Direct(ask)


# The process


class Answerer:
    """The model with its questions; `answer` and `forward` are called from one thread at a time."""

    def __init__(self, called: Called) -> None:
        self._encoder = Encoder.from_file(called.tokenizer)
        self._items = workload.load(Path(called.items))
        self._pieces = [self._encoder.pieces(item.paragraph) for item in self._items]
        self._logits = _load(called)
        self._inputs = [[_rows(w) for w in self._windows(n)] for n in range(len(self._items))]

    def __len__(self) -> int:
        return len(self._items)

    def answer(self, number: int) -> str:
        item, pieces = self._items[number], self._pieces[number]
        outputs = []
        for window in self._windows(number):
            starts, ends = self._logits(_rows(window))
            outputs.append((window, starts[0].tolist(), ends[0].tolist()))
        best = answer_of(item.paragraph, pieces, outputs)
        return best.text if best.margin > 0 else ""

    def forward(self, number: int) -> None:
        for rows in self._inputs[number]:
            self._logits(rows)

    def _windows(self, number: int) -> Iterator[Window]:
        question = self._encoder.question(self._items[number].question)
        return self._encoder.windows(question, self._pieces[number])


def _rows(window: Window) -> list[Row]:
    return [
        np.array([row], np.int64) for row in (window.input_ids, window.attention_mask, window.token_type_ids)
    ]


def _load(called: Called) -> Logits:
    if called.backend == ORIGINAL:
        return _load_original(called)
    backend = Backends(called.threads)[called.backend]
    return backend.load(Path(called.model), Device("CPU"), called.inputs, called.outputs).run


def _load_original(called: Called) -> Logits:
    import torch

    torch.set_num_threads(called.threads)
    module = torch.jit.load(called.model).eval()

    def logits(rows: Sequence[Row]) -> Sequence[npt.NDArray[np.float32]]:
        with torch.inference_mode():
            return [output.numpy() for output in module(*map(torch.from_numpy, rows))]

    return logits


def measure(answerer: Answerer, asking: Asking, work: Callable[[int], object]) -> dict[str, Any]:
    """What the clients saw who had `work` done for question after question, as fields of Answered."""
    latencies_ms: list[float] = []
    numbers = count()
    with ThreadPoolExecutor(1) as queue:  # in the order in which they come

        def queued(number: int) -> None:
            queue.submit(work, number).result(ANSWER_DEADLINE_S)

        do = queued if asking.clients > 1 else work  # one alone has it done by itself

        def client() -> None:
            while True:
                began_s = perf_counter()
                do(next(numbers) % len(answerer))
                now_s = perf_counter()
                latencies_ms.append((now_s - began_s) * 1e3)
                if now_s > end_s:
                    return

        threads = [Thread(target=client) for _ in range(asking.clients)]
        first_s = perf_counter()
        end_s = first_s + asking.seconds
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took_s = perf_counter() - first_s
    return {"took_s": took_s, "latencies_ms": latencies_ms, "answers": []}


def answer_once(answerer: Answerer) -> dict[str, Any]:
    """Every question's answer, as fields of Answered."""
    answers, latencies_ms = [], []
    began_s = perf_counter()
    for number in range(len(answerer)):
        asked_s = perf_counter()
        answers.append(answerer.answer(number))
        latencies_ms.append((perf_counter() - asked_s) * 1e3)
    return {"took_s": perf_counter() - began_s, "latencies_ms": latencies_ms, "answers": answers}


def main(told: str) -> None:
    restart_with_jemalloc()  # as the models worker: neither an allocator nor how threads wait
    spin_briefly()  # is a merit of the server's
    answerer = Answerer(Called(**json.loads(Path(told).read_text())))

    def answer(order: dict[str, Any]) -> dict[str, Any]:
        if order["what"] == "answers":
            return answer_once(answerer)
        work = answerer.forward if order["what"] == "forward" else answerer.answer
        return measure(answerer, Asking(**order["asking"]), work)

    answer_each(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
