"""Token sequences of different lengths in one forward pass: the shorter ones are filled up with zeros.

That is right for models that are told which tokens count: those with an input `attention_mask`, beside others
of the same shape, [samples, tokens], as transformers are exported. What comes out for the filling has to be
cut off again. Which dimensions of an output are as long as the sequences is learnt from passes: nothing is
filled up before two lengths were seen, and never where a dimension follows the length in another way, as the
gaps between tokens do.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np

from keymiss.backends import Array, Model
from keymiss.channel import Tensor

_MASK = "attention_mask"
_TOKEN_DTYPES = ("INT64", "INT32")
_ROWS, _TOKENS = -1, -2  # what the size of a dimension may be, where it is no number of its own


def takes_sequences(model: Model) -> bool:
    """Whether sequences of different lengths may be joined for it."""
    return _MASK in model.inputs


def tokens_of(model: Model, tensors: Sequence[Tensor]) -> int:
    """The length of the sequences of a request; 0 where they are none that could be filled up."""
    if not takes_sequences(model):
        return 0
    shape = tensors[0].shape
    alike = len(shape) == 2 and all(t.shape == shape and t.dtype in _TOKEN_DTYPES for t in tensors)
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
    """What the dimensions of each output of a model are: so many, the rows, or the tokens. Threads may share
    it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lengths: set[int] = set()  # two of those that have run
        self._longest = 0  # that has run
        self._outputs: list[list[set[int]]] = []  # of each dimension what it may be by all passes so far
        self.known = False  # what comes out for filling can be cut off

    def learn(self, tokens: int, rows: int, outputs: Sequence[Array]) -> bool:
        """A pass over so many sequences of this length gave these outputs. Whether all is known now."""
        meanings = [_meanings(output.shape, tokens, rows) for output in outputs]
        with self._lock:
            if self._lengths:
                pairs = zip(self._outputs, meanings, strict=True)
                meanings = [_common(before, now) for before, now in pairs]
            self._outputs = meanings
            self._longest = max(self._longest, tokens)
            if len(self._lengths) < 2:
                self._lengths.add(tokens)
            self.known = len(self._lengths) == 2 and all(map(all, meanings))
            return self.known

    def width(self, tokens: int, step: int) -> int:
        """How many tokens to run sequences of that length as: a multiple of `step`, since runtimes make code
        for each length. Not more than have run before: a model has a longest sequence that it takes."""
        if not self.known:
            return tokens
        return max(tokens, min(-(-tokens // step) * step, self._longest))

    def cut(self, output: int, array: Array, tokens: int) -> Array:
        """What is left of the values of this output where the filling is cut off."""
        dimensions = self._outputs[output]
        return array[tuple(slice(tokens if _TOKENS in may_be else None) for may_be in dimensions)]


def _meanings(shape: Sequence[int], tokens: int, rows: int) -> list[set[int]]:
    """What each dimension of an output may be by one pass."""
    return [
        {size, _ROWS} if axis == 0 and size == rows else {size, _TOKENS} if size == tokens else {size}
        for axis, size in enumerate(shape)
    ]


def _common(before: list[set[int]], now: list[set[int]]) -> list[set[int]]:
    """What each dimension of an output may be by all passes: one may be nothing, where it follows another
    rule."""
    if len(before) != len(now):
        return [set()]
    return [one & other for one, other in zip(before, now, strict=True)]


_AXES: WeakKeyDictionary[Model, Axes] = WeakKeyDictionary()


def axes_of(model: Model) -> Axes:
    """What is known of the outputs of this model, as long as it is loaded."""
    known = _AXES.get(model)
    return known if known is not None else _AXES.setdefault(model, Axes())
