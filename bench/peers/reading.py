"""Questions to a model's inputs and its outputs to answers, alike for every server beside this file.

The tokenizer's own truncation says how long an input may be; a longer text is asked about in windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

OVERLAP_TOKENS = 64
MAX_ANSWER_TOKENS = 40
INPUTS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}

Rows = npt.NDArray[Any]
Forward = Callable[[Mapping[str, Rows]], tuple[Rows, Rows]]  # inputs by name -> start and end logits


class Reader:
    """Answers questions by `forward`, those of one call in one batch. May be called from several threads."""

    def __init__(self, tokenizer_file: str, forward: Forward) -> None:
        self._tokenizer, self._forward = Tokenizer.from_file(tokenizer_file), forward
        self._tokenizer.enable_truncation(
            longest_input(self._tokenizer), stride=OVERLAP_TOKENS, strategy="only_second"
        )

    def answers(self, asked: Sequence[Mapping[str, str]]) -> list[str]:
        """For each `question` the best span of its `context`, or an empty string where there is none."""
        firsts = [self._tokenizer.encode(one["question"], one["context"]) for one in asked]
        windows = [[first, *first.overflowing] for first in firsts]
        every = [encoding for some in windows for encoding in some]
        outputs = iter(list(zip(*self._forward(_padded(every)), strict=True)))
        return [
            _answer(one["context"], [(encoding, *next(outputs)) for encoding in some])
            for one, some in zip(asked, windows, strict=True)
        ]


def longest_input(tokenizer: Tokenizer) -> int:
    """Tokens that the model takes, as its tokenizer says."""
    assert tokenizer.truncation is not None
    return int(tokenizer.truncation["max_length"])


def _padded(encodings: Sequence[Encoding]) -> dict[str, Rows]:
    inputs = {name: np.zeros((len(encodings), max(map(len, encodings))), np.int64) for name in INPUTS}
    for name, attribute in INPUTS.items():
        for row, encoding in zip(inputs[name], encodings, strict=True):
            row[: len(encoding)] = getattr(encoding, attribute)
    return inputs


def _answer(context: str, outputs: Sequence[tuple[Encoding, Rows, Rows]]) -> str:
    best, null, span = -np.inf, np.inf, (0, 0)
    for encoding, starts, ends in outputs:
        null = min(null, starts[0] + ends[0])
        first = encoding.sequence_ids.index(1)
        last = len(encoding) - 1  # [SEP]
        scores = starts[first:last, None] + ends[None, first:last]
        scores[np.tril_indices(last - first, -1)] = -np.inf  # ends before it starts
        scores[np.triu_indices(last - first, MAX_ANSWER_TOKENS)] = -np.inf
        i, j = divmod(int(scores.argmax()), last - first)
        if scores[i, j] > best:
            best, span = scores[i, j], (encoding.offsets[first + i][0], encoding.offsets[first + j][1])
    return context[slice(*span)] if best > null else ""
