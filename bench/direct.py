"""The same model, called directly: in a Python process of its own, as one would without a server.

`python -m keymiss_deploy.bench.direct FILE DTYPE SHAPE INPUTS THREADS` is asked for so many seconds (see
dialog), calls the model one time after the other for so long, and answers by a Load.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from time import perf_counter
from typing import Any

from keymiss.inference.allocator import restart_with_jemalloc
from keymiss.inference.openmp import spin_briefly

from .dialog import answer_each, dialog
from .load import Load
from .rounds import percentile
from .subjects import Subject

WARM_UP_CALLS = 5  # TorchScript compiles in the first ones


@contextmanager
def called_directly(subject: Subject, threads: int, seconds: float) -> Iterator[Callable[[], Load]]:
    """A function that has the model called for `seconds`, in a process that is gone at the end."""
    shape = "x".join(map(str, subject.shape))
    arguments = [str(subject.file), subject.dtype, shape, str(subject.inputs), str(threads)]
    with dialog(__spec__.name, *arguments) as ask:
        yield lambda: Load(**ask({"seconds": seconds}))


def main(file: str, dtype: str, shape: str, inputs: str, threads: str) -> None:
    restart_with_jemalloc()  # as the models worker: neither an allocator nor how threads wait
    spin_briefly()  # is a merit of the server's
    import torch

    torch.set_num_threads(int(threads))
    model = torch.jit.load(file).eval()
    kind = {"FLOAT": torch.float32, "INT64": torch.int64}[dtype]
    given = [torch.ones([int(n) for n in shape.split("x")], dtype=kind) for _ in range(int(inputs))]
    with torch.inference_mode():
        for _ in range(WARM_UP_CALLS):
            model(*given)

        def call(order: dict[str, Any]) -> dict[str, Any]:
            took_ms: list[float] = []
            began = now = perf_counter()
            while now < began + order["seconds"]:
                model(*given)
                then, now = now, perf_counter()
                took_ms.append((now - then) * 1e3)
            load = Load(len(took_ms) / (now - began), percentile(took_ms, 50), percentile(took_ms, 99))
            return asdict(load)

        answer_each(call)


if __name__ == "__main__":
    main(*sys.argv[1:])
