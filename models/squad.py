"""Questions from SQuAD-format files, and which part of the text each is asked about."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Where a sentence may end, and words whose full stop ends none. A library would do better on unusual text,
# but the published figures and the training order depend on exactly these sentences.
_END = re.compile(r"[.!?][\"')\]]*(?:\[\d+\])*\s+(?=[\"'(\[]?[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|St|vs|etc|e\.g|i\.e|cf|al|Fig|Figs|No|Inc|Jr|Sr|U\.S|approx|[A-Z])\.$"
)
_LOOK_BACK = 12  # characters that an abbreviation may take
_LINES = re.compile(r"\n+")


@dataclass(frozen=True)
class Gold:
    """An answer that somebody gave: context[start : start + len(text)]."""

    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True)
class Example:
    """A question about a context. No answers: the context holds none."""

    question: str
    context: str
    answers: tuple[Gold, ...]


@dataclass(frozen=True)
class Article:
    """An article's paragraphs, each with the questions about it."""

    title: str
    paragraphs: tuple[tuple[str, tuple[Example, ...]], ...]


def read(*files: Path) -> list[Article]:
    """The articles of SQuAD 1.1 files, in order. ValueError where a file is not of that format."""
    return [_article(entry, file) for file in files for entry in _data(file)]


def _data(file: Path) -> list[dict[str, object]]:
    try:
        data: list[dict[str, object]] = json.loads(file.read_text())["data"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is no SQuAD file: {error!r}") from error
    return data


def _article(entry: dict[str, object], file: Path) -> Article:
    try:
        paragraphs = entry["paragraphs"]
        assert isinstance(paragraphs, list)
        return Article(str(entry.get("title", "")), tuple(map(_paragraph, paragraphs)))
    except (KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"{file} is no SQuAD file: {error!r}") from error


def _paragraph(entry: dict[str, object]) -> tuple[str, tuple[Example, ...]]:
    context, questions = str(entry["context"]), entry["qas"]
    assert isinstance(questions, list)
    return context, tuple(
        Example(q["question"], context, tuple(Gold(a["text"], a["answer_start"]) for a in q["answers"]))
        for q in questions
    )


def sentences(text: str) -> list[tuple[int, int]]:
    """The sentences of a text, white space behind each included: text[start:end] in order, without empty
    ones."""
    cuts = {0, len(text), *(match.end() for match in _LINES.finditer(text))}
    for match in _END.finditer(text):
        stop = match.start() + 1
        if not _ABBREVIATION.search(text, max(0, stop - _LOOK_BACK), stop):
            cuts.add(match.end())
    ordered = sorted(cuts)
    return [(a, b) for a, b in itertools.pairwise(ordered) if text[a:b].strip()]


def cut(example: Example, start: int, end: int) -> Example:
    """The example about context[start:end], without white space around it; answers that are not inside are
    dropped."""
    part = example.context[start:end]
    start += len(part) - len(part.lstrip())
    end = start + len(part.strip())
    inside = tuple(
        Gold(a.text, a.start - start) for a in example.answers if start <= a.start and a.end <= end
    )
    return Example(example.question, part.strip(), inside)


def around_answer(example: Example, before: int = 0, after: int = 0) -> Example:
    """The sentences that hold the first answer, and as many more before and after. ValueError without an
    answer."""
    if not example.answers:
        raise ValueError("an example without an answer has no sentence that holds it")
    answer, spans = example.answers[0], sentences(example.context)
    holding = [n for n, (a, b) in enumerate(spans) if a < answer.end and b > answer.start] or [0]
    first, last = max(0, holding[0] - before), min(len(spans) - 1, holding[-1] + after)
    return cut(example, spans[first][0], spans[last][1])


def paragraph(example: Example) -> Example:
    """The whole context."""
    return example


POLICIES: dict[str, Callable[[Example], Example]] = {"sentence": around_answer, "paragraph": paragraph}


def examples(file: Path, policy: str) -> Iterator[Example]:
    """The questions of a file that have an answer, each about the part of its text that `policy` chooses."""
    for article in read(file):
        for _, asked in article.paragraphs:
            for example in asked:
                chosen = POLICIES[policy](example) if example.answers else example
                if chosen.answers:
                    yield chosen
