"""A question-answering model as a function from its inputs to its outputs.

Inputs input_ids, attention_mask, token_type_ids (int64 [batch, tokens]), outputs start_logits, end_logits
(float32 [batch, tokens]).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from keymiss.backends import Backends, Device

from .forms import FORMS

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = ("start_logits", "end_logits")

Logits = Callable[[Sequence[npt.NDArray[np.int64]]], Sequence[npt.NDArray[np.float32]]]


def load_logits(file: Path, form: str, threads: int | None = None) -> Logits:
    """An exported model as a function from the three inputs to the two outputs, run by the worker's own
    backend."""
    threads = threads or os.cpu_count() or 1
    return Backends(threads)[FORMS[form].backend].load(file, Device("CPU"), (), ()).run


def pad(rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[npt.NDArray[np.int64]]:
    """The three inputs for rows of (input_ids, token_type_ids) of different length."""
    shape = len(rows), max(len(ids) for ids, _ in rows)
    inputs = [np.zeros(shape, np.int64) for _ in INPUTS]
    for n, (ids, types) in enumerate(rows):
        for array, values in zip(inputs, (ids, [1] * len(ids), types), strict=True):
            array[n, : len(ids)] = values
    return inputs
