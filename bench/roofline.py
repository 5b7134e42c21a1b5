"""What the processor multiplies at most, and how much of that answering questions takes.

`python -m keymiss_deploy.bench.roofline THREADS` multiplies square matrices in each precision, by PyTorch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from keymiss.qa import Encoder

from .dialog import Ask, answer_each, dialog
from .workload import Item

SIZE = 1024  # of a matrix: three of them stay in the caches
PRECISIONS = ("fp32", "bf16", "int8")


@contextmanager
def multiplying(threads: int) -> Iterator[Ask]:
    """A process that says, for `seconds` in each precision, how many GOP/s it reaches; None where PyTorch
    cannot do that precision here."""
    with dialog(__spec__.name, str(threads)) as ask:
        yield ask


def operations(items: Sequence[Item], tokenizer: Path, config: Path) -> float:
    """GOP of an average question, in the matrix products of a BERT encoder and its attention."""
    encoder, told = Encoder.from_file(tokenizer), json.loads(config.read_text())
    total = 0.0
    for item in items:
        windows = encoder.windows(encoder.question(item.question), encoder.pieces(item.paragraph))
        total += sum(_operations(len(window.input_ids), told) for window in windows)
    return total / len(items) / 1e9


def _operations(tokens: int, config: dict[str, Any]) -> float:
    """Of one window: four projections and two layers of the feed-forward net, scores and their sums."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    dense = 2 * tokens * (4 * hidden * hidden + 2 * hidden * inner)
    attention = 2 * 2 * tokens * tokens * hidden
    return float(config["num_hidden_layers"] * (dense + attention))


def main(threads: str) -> None:
    import torch

    torch.set_num_threads(int(threads))
    ones = {
        "fp32": torch.ones(SIZE, SIZE),
        "bf16": torch.ones(SIZE, SIZE, dtype=torch.bfloat16),
        "int8": torch.ones(SIZE, SIZE, dtype=torch.int8),
    }

    def answer(order: dict[str, Any]) -> dict[str, Any]:
        return {name: _peak(name, ones[name], order["seconds"]) for name in PRECISIONS}

    def _peak(name: str, matrix: torch.Tensor, seconds: float) -> float | None:
        multiply = torch._int_mm if name == "int8" else torch.mm
        best_s, end_s = float("inf"), perf_counter() + seconds
        try:
            while (began_s := perf_counter()) < end_s:
                multiply(matrix, matrix)
                best_s = min(best_s, perf_counter() - began_s)
        except (RuntimeError, NotImplementedError):
            return None
        return 2 * SIZE**3 / best_s / 1e9

    answer_each(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
