"""The model called directly in Python, the plain way: what the answers through a cluster are held against.

Written apart from `keymiss.qa`: the tokenizer itself encodes the pair, and all spans are tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accuracy.heldout import Item
from keymiss_deploy.models.source import DEFAULT, cache_folder, load_eager

OVERLAP_TOKENS = 64
MAX_ANSWER_TOKENS = 40
BATCH = 8

Logits = npt.NDArray[np.float32]


@cache
def _model() -> tuple[Any, Any]:
    torch.set_num_threads(1)  # several wait for each other by spinning, on cores that other tests want
    model, tokenizer = load_eager(DEFAULT, cache_folder())
    max_tokens = tokenizer.truncation["max_length"]  # what the model takes
    tokenizer.enable_truncation(max_tokens, stride=OVERLAP_TOKENS, strategy="only_second")
    tokenizer.enable_padding()
    return model, tokenizer


def answers(items: list[Item]) -> list[str]:
    """The best span of each paragraph, or an empty string where the model finds none."""
    return [_answer(item) for item in items]


def _answer(item: Item) -> str:
    _, tokenizer = _model()
    first = tokenizer.encode(item.question, item.paragraph)
    encodings = [first, *first.overflowing]
    best, null, found = -np.inf, np.inf, (0, 0)
    for encoding, (starts, ends) in zip(encodings, _logits(encodings), strict=True):
        null = min(null, float(starts[0] + ends[0]))
        score, span = _best_span(encoding, starts, ends)
        if score > best:
            best, found = score, span
    return item.paragraph[found[0] : found[1]] if best > null else ""


def _logits(encodings: list[Any]) -> Iterator[tuple[Logits, Logits]]:
    model, _ = _model()
    for at in range(0, len(encodings), BATCH):
        batch = encodings[at : at + BATCH]
        rows = {
            "input_ids": [e.ids for e in batch],
            "attention_mask": [e.attention_mask for e in batch],
            "token_type_ids": [e.type_ids for e in batch],
        }
        with torch.inference_mode():
            out = model(**{name: torch.tensor(row) for name, row in rows.items()})
        yield from zip(out.start_logits.numpy(), out.end_logits.numpy(), strict=True)


def _best_span(encoding: Any, starts: Logits, ends: Logits) -> tuple[float, tuple[int, int]]:
    """The highest score of a span of at most `MAX_ANSWER_TOKENS` in the paragraph, and its characters."""
    inside = np.array([sequence == 1 for sequence in encoding.sequence_ids])
    scores = starts[:, None] + ends[None, :]
    length = np.arange(len(ends))[None, :] - np.arange(len(starts))[:, None]
    allowed = inside[:, None] & inside[None, :] & (length >= 0) & (length < MAX_ANSWER_TOKENS)
    scores = np.where(allowed, scores, -np.inf)
    i, j = np.unravel_index(int(scores.argmax()), scores.shape)
    return float(scores[i, j]), (encoding.offsets[i][0], encoding.offsets[j][1])
