"""The SQuAD metric: exact match and F1 of an answer against the answers people gave."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from string import punctuation

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", punctuation)


def normalise(text: str) -> str:
    """Lower case, without punctuation and articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(answer: str, golds: Sequence[str]) -> bool:
    """Whether the answer is one of the golds, both normalised."""
    return normalise(answer) in map(normalise, golds)


def f1(answer: str, golds: Sequence[str]) -> float:
    """The harmonic mean of precision and recall of the answer's words, 0 to 1, for the gold that it fits
    best."""
    return max((_f1(normalise(answer).split(), normalise(gold).split()) for gold in golds), default=0.0)


def _f1(answer: list[str], gold: list[str]) -> float:
    common = sum((Counter(answer) & Counter(gold)).values())
    return 2 * common / (len(answer) + len(gold)) if common else 0.0


def score(answers: Sequence[str], golds: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Exact match and F1 over all questions, in percent. ValueError where there are none."""
    if not answers or len(answers) != len(golds):
        raise ValueError(f"{len(answers)} answers for {len(golds)} questions")
    exact = sum(exact_match(answer, gold) for answer, gold in zip(answers, golds, strict=True))
    return 100 * exact / len(answers), 100 * sum(map(f1, answers, golds)) / len(answers)
