"""The answer in the outputs of an extractive question-answering model: the best valid span."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan

from keymiss.qa.encode import Pieces, Window

MAX_ANSWER_PIECES = 40


@dataclass(frozen=True)
class Answer:
    """`text` is the best span, an exact substring of the paragraph: text[start:end]. `margin` is how much
    better the span scores than saying that there is no answer; not more than 0 means that the model sees
    none."""

    text: str
    start: int
    end: int
    score: float
    margin: float

    @property
    def shown(self) -> str:
        """What whoever asked gets: the text, or nothing where the model sees no answer."""
        return self.text if self.margin > 0 else ""


NO_ANSWER = Answer("", 0, 0, 0.0, 0.0)  # of a text without words


def best_span(
    starts: Sequence[float],
    ends: Sequence[float],
    first: int,
    count: int,
    max_pieces: int = MAX_ANSWER_PIECES,
) -> tuple[int, int, float]:
    """The span with the highest starts[i] + ends[j] where first <= i <= j < first + count and j - i <
    max_pieces: i, j and the score; of several the one that ends, then the one that starts first. ValueError
    where count is 0.

    Where the highest start and the highest end make a span there is no better one, which is so for most
    questions that have an answer. Else one pass: the best start for each end is at the head of a falling
    queue."""
    if count <= 0:
        raise ValueError("a paragraph without word pieces has no span")
    last = first + count
    highest_start, highest_end = max(starts[first:last]), max(ends[first:last])
    if not isnan(highest_start + highest_end):
        i, j = starts.index(highest_start, first), ends.index(highest_end, first)
        if i <= j < i + max_pieces:
            return i, j, highest_start + highest_end
    candidates: deque[int] = deque()  # positions whose starts fall from left to right
    best = (first, first, float("-inf"))
    for j in range(first, last):
        score = starts[j]
        while candidates and starts[candidates[-1]] < score:
            candidates.pop()
        candidates.append(j)
        if candidates[0] <= j - max_pieces:
            candidates.popleft()
        total = starts[candidates[0]] + ends[j]
        if total > best[2]:
            best = (candidates[0], j, total)
    return best


def answer_of(
    text: str, paragraph: Pieces, outputs: Iterable[tuple[Window, Sequence[float], Sequence[float]]]
) -> Answer:
    """The best answer over all windows of a paragraph. `text` is what `paragraph` was made of; each of
    `outputs` is a window with the model's start and end logits for it. ValueError where the paragraph has
    no word pieces."""
    score, null, span = float("-inf"), float("inf"), (0, 0)
    for window, starts, ends in outputs:
        null = min(null, starts[0] + ends[0])  # [CLS]: what the model gives to "there is none"
        i, j, found = best_span(starts, ends, window.first, window.count)
        if found > score:
            score = found
            span = (i - window.first + window.skipped, j - window.first + window.skipped)
    start, end = paragraph.starts[span[0]], paragraph.ends[span[1]]
    return Answer(text[start:end], start, end, score, score - null)
