"""One forward pass for one or several requests: join their inputs, run the model, split its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keymiss.backends import Array, Model
from keymiss.channel import Tensor
from keymiss.errors import ModelError
from keymiss.inference.arrays import to_array, to_tensor
from keymiss.inference.padding import axes_of, filled, tokens_of


def rows_of(tensors: Sequence[Tensor]) -> int:
    """How many samples a request holds: dimension 0 of its first input; a scalar is one."""
    return tensors[0].shape[0] if tensors and tensors[0].shape else 1


def joinable(tensors: Sequence[Tensor]) -> bool:
    """Whether all inputs have the same dimension 0, so that requests can be joined along it."""
    return bool(tensors) and all(t.shape and t.shape[0] == tensors[0].shape[0] for t in tensors)


def likeness(tensors: Sequence[Tensor]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Equal for requests that can be joined with each other as they are: dtypes, and shapes without dimension
    0."""
    return tuple((t.dtype, t.shape[1:]) for t in tensors)


class PassSize(NamedTuple):
    """What went into a pass. `padding` is what its sequences were filled up with; 0 tokens: it had none."""

    rows: int
    tokens: int
    padding: int


def size_of(model: Model, requests: Sequence[Sequence[Tensor]]) -> PassSize:
    """Of a pass over these requests together."""
    lengths = [(tokens_of(model, tensors), rows_of(tensors)) for tensors in requests]
    rows, tokens = sum(rows for _, rows in lengths), sum(tokens * rows for tokens, rows in lengths)
    if not tokens:
        return PassSize(rows, 0, 0)
    width = axes_of(model).width(max(tokens for tokens, _ in lengths), model.length_step)
    return PassSize(rows, tokens, rows * width - tokens)


def run_together(model: Model, requests: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    """The outputs of each request, in order. All are alike where there are several, but for the lengths of
    sequences that can be filled up. ModelError fails all of them."""
    arrays = [[to_array(tensor) for tensor in tensors] for tensors in requests]
    lengths = [tokens_of(model, tensors) for tensors in requests]
    axes = axes_of(model) if max(lengths) else None
    width = axes.width(max(lengths), model.length_step) if axes else 0
    fills = min(lengths) < width
    outputs = run_model(
        model, [_joined(column, width if fills else 0) for column in zip(*arrays, strict=True)]
    )
    rows = [rows_of(tensors) for tensors in requests]
    can_cut = axes.learn(width, sum(rows), outputs) if axes else False
    if fills and not can_cut:  # as its shapes have just shown
        return [run_together(model, [tensors])[0] for tensors in requests]
    parts = [outputs] if len(arrays) == 1 else _split(outputs, rows)
    if axes and fills:
        parts = [
            [axes.cut(n, part, tokens) for n, part in enumerate(one)]
            for one, tokens in zip(parts, lengths, strict=True)
        ]
    return [[to_tensor(part) for part in one] for one in parts]


def _joined(arrays: Sequence[Array], width: int) -> Array:
    """One input of all requests; `width`: sequences to be filled up to so many tokens, 0: as they are."""
    if width:
        return filled(arrays, width)
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def run_model(model: Model, arrays: Sequence[Array]) -> list[Array]:
    """One forward pass, which gives as many outputs as the model has."""
    outputs = model.run(arrays)
    check_outputs(outputs, len(model.outputs))
    return outputs


def check_outputs(outputs: Sequence[Array], promised: int) -> None:
    """ModelError where a pass gave another number of outputs than it should."""
    if len(outputs) != promised:
        raise ModelError(f"the model gave {len(outputs)} outputs where it promised {promised}")


def check_rows(outputs: Sequence[Array], rows: int) -> None:
    """ModelError where not every output has so many."""
    if any(output.ndim == 0 or len(output) != rows for output in outputs):
        raise ModelError("Model did not generate the expected batch size")


def _split(outputs: Sequence[Array], rows: Sequence[int]) -> list[list[Array]]:
    """Each request's rows of each output."""
    check_rows(outputs, sum(rows))
    ends = np.cumsum(rows)[:-1]
    return [list(parts) for parts in zip(*(np.split(x, ends) for x in outputs), strict=True)]
