"""A model's forward pass on a device, in a process of its own, so that what a GPU's libraries do stays there.

`python -m keymiss_deploy.bench.forward FILE BACKEND DEVICE THREADS` says how fast it is in batches of the
sizes that it is asked for, and what it gives for a fixed input.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from keymiss.backends import Backends, Device
from keymiss.errors import BackendError, BackendMissing, ModelError
from keymiss.inference.allocator import restart_with_jemalloc
from keymiss.inference.openmp import spin_briefly

from .dialog import answer_each, dialog
from .load import Load
from .rounds import percentile

TOKENS = 128
WARM_UP_CALLS = 5
FIRST_WORD = 1000  # of the vocabulary: what is before are special tokens
Ask = Callable[..., dict[str, Any]]


@contextmanager
def forwarding(file: Path, backend: str, device: str, threads: int) -> Iterator[Ask]:
    """A function that asks the process: `seconds` and `batch` for a Load's fields, nothing for `outputs`.
    RuntimeError where the model does not run there."""
    with dialog(__spec__.name, str(file), backend, device, str(threads)) as ask:
        yield lambda **order: ask(order)


def inputs(batch: int) -> list[Any]:
    """input_ids, attention_mask, token_type_ids: all different words, half of them the question's."""
    ids = np.tile(np.arange(FIRST_WORD, FIRST_WORD + TOKENS, dtype=np.int64), (batch, 1))
    types = np.zeros_like(ids)
    types[:, TOKENS // 2 :] = 1
    return [ids, np.ones_like(ids), types]


def main(file: str, backend: str, device: str, threads: str) -> None:
    restart_with_jemalloc()
    spin_briefly()
    loaded: list[Any] = []

    def answer(order: dict[str, Any]) -> dict[str, Any]:
        try:
            if not loaded:
                found = Backends(int(threads))[backend]
                loaded.append(found.load(Path(file), Device.parse(device), (), ()))
            if "batch" not in order:
                return {"outputs": [array.tolist() for array in loaded[0].run(inputs(1))]}
            return asdict(_load(loaded[0].run, order["batch"], order["seconds"]))
        except (BackendError, BackendMissing, ModelError) as error:
            return {"error": str(error)}

    answer_each(answer)


def _load(forward: Callable[[list[Any]], object], batch: int, seconds: float) -> Load:
    """Sequences a second, and what a batch takes."""
    given = inputs(batch)
    for _ in range(WARM_UP_CALLS):
        forward(given)
    took_ms: list[float] = []
    began = now = perf_counter()
    while now < began + seconds:
        forward(given)
        then, now = now, perf_counter()
        took_ms.append((now - then) * 1e3)
    return Load(batch * len(took_ms) / (now - began), percentile(took_ms, 50), percentile(took_ms, 99))


if __name__ == "__main__":
    main(*sys.argv[1:])
