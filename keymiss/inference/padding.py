"""Token sequences of different lengths in one forward pass: the shorter ones are filled up with zeros.

That is right for models that are told which tokens count: those with an input `attention_mask`, beside others
of the same shape, [samples, tokens], as transformers are exported. What comes out for the filling has to be
cut off again. Which dimensions of an output follow the tokens is learnt from passes without filling: nothing
is filled up before two lengths were seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np

from keymiss.backends import Array, Model
from keymiss.channel import Tensor

_MASK = "attention_mask"
_TOKENS = ("INT64", "INT32")


def takes_sequences(model: Model) -> bool:
    """Whether sequences of different lengths may be joined for it."""
    return _MASK in model.inputs


def tokens_of(model: Model, tensors: Sequence[Tensor]) -> int:
    """The length of the sequences of a request; 0 where they are none that could be filled up."""
    if not takes_sequences(model):
        return 0
    shape = tensors[0].shape
    alike = len(shape) == 2 and all(t.shape == shape and t.dtype in _TOKENS for t in tensors)
    return shape[1] if alike else 0


def filled(arrays: Sequence[Array], tokens: int) -> Array:
    """All of their sequences, with zeros behind them up to so many tokens."""
    rows = np.zeros((sum(map(len, arrays)), tokens), arrays[0].dtype)
    first = 0
    for array in arrays:
        rows[first : first + len(array), : array.shape[1]] = array
        first += len(array)
    return rows


class Axes:
    """Which dimensions of each output of a model are as long as its sequences. Threads may share it."""

    def __init__(self) -> None:
        self._seen: int | None = None  # a length
        self._axes: tuple[tuple[int, ...], ...] = ()  # as they follow from it
        self._longest = 0  # that has run without filling
        self.known = False

    def learn(self, tokens: int, outputs: Sequence[Array]) -> None:
        """A pass over sequences of this length, without filling, gave these outputs."""
        self._longest = max(self._longest, tokens)
        if self.known or tokens == self._seen:
            return
        axes = tuple(
            tuple(axis for axis, size in enumerate(output.shape) if axis and size == tokens)
            for output in outputs
        )
        if self._seen is None or len(axes) != len(self._axes):
            self._seen, self._axes = tokens, axes
            return
        self._axes = tuple(
            tuple(axis for axis in now if axis in before)
            for now, before in zip(axes, self._axes, strict=True)
        )
        self.known = True

    def width(self, tokens: int, step: int) -> int:
        """How many tokens to run sequences of that length as: a multiple of `step`, since runtimes make code
        for each length. Not more than have run before: a model has a longest sequence that it takes."""
        if not self.known:
            return tokens
        return max(tokens, min(-(-tokens // step) * step, self._longest))

    def cut(self, output: int, array: Array, tokens: int) -> Array:
        """What is left of the values of this output where the filling is cut off."""
        follows = self._axes[output]
        return array[tuple(slice(tokens if axis in follows else None) for axis in range(array.ndim))]


_AXES: WeakKeyDictionary[Model, Axes] = WeakKeyDictionary()


def axes_of(model: Model) -> Axes:
    """What is known of the outputs of this model, as long as it is loaded."""
    known = _AXES.get(model)
    return known if known is not None else _AXES.setdefault(model, Axes())
