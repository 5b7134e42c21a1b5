"""What the default model is trained on: questions about sentences first, then about paragraphs, some
without an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from .squad import Article, Example, around_answer, cut, read, sentences

CHUNK_CHARACTERS = 1000  # of a document: about a paragraph
SHORTEST_CONTEXT = 30  # characters of a context without an answer
SMALL_SHARE = 2000  # sentence questions that are repeated in each later phase, so that they are not forgotten
_AROUND = ((0, 0), (0, 0), (1, 0), (0, 1), (1, 1), (2, 2))  # sentences before and after the answer's
_WINDOWS = (300, 500, 1000)  # characters


@dataclass(frozen=True)
class Mix:
    """Training files. Questions in `sentences` are about their whole, short context; in `paragraphs` about
    paragraphs of an article; in `documents` about texts of many pages."""

    sentences: Sequence[Path]
    paragraphs: Sequence[Path]
    documents: Sequence[Path]

    def phases(self, rng: Random, epochs: int) -> list[list[Example]]:
        """Examples in the order of training: one phase about sentences, then one for each epoch."""
        short = [e for a in read(*self.sentences) for _, asked in a.paragraphs for e in asked]
        articles, documents = read(*self.paragraphs), read(*self.documents)
        first = [
            *rng.sample(short, len(short)),
            *about_articles(articles, rng, paragraphs=0.0, strangers=0.0, nothing=0.2),
            *about_documents(documents, rng, windows=0.0, sentence=1.0, nothing=0.2),
        ]
        later = [
            [
                *about_articles(articles, rng),
                *about_documents(documents, rng),
                *rng.sample(short, min(SMALL_SHARE, len(short))),
            ]
            for _ in range(epochs)
        ]
        return [first, *later]


def about_articles(
    articles: Sequence[Article],
    rng: Random,
    paragraphs: float = 0.6,
    strangers: float = 0.1,
    nothing: float = 0.15,
) -> list[Example]:
    """Each question about its paragraph (with probability `paragraphs`) or the sentences around its answer;
    and, with the other probabilities, about another paragraph or about some sentence, neither with the
    answer in it."""
    examples: list[Example] = []
    for article in articles:
        for n, (context, asked) in enumerate(article.paragraphs):
            others = [text for m, (text, _) in enumerate(article.paragraphs) if m != n]
            parts = [context[a:b].strip() for a, b in sentences(context)]
            for example in asked:
                whole = rng.random() < paragraphs
                examples.append(example if whole else around_answer(example, *rng.choice(_AROUND)))
                if rng.random() < strangers and others:
                    examples += without_answer(example, rng.choice(others))
                if rng.random() < nothing:
                    at = rng.randrange(len(parts))
                    examples += without_answer(example, " ".join(parts[at : at + rng.choice((1, 1, 2))]))
    return examples


def about_documents(
    documents: Sequence[Article],
    rng: Random,
    windows: float = 0.7,
    sentence: float = 0.5,
    nothing: float = 0.25,
) -> list[Example]:
    """Each question, with these probabilities, about a window around its answer, about the sentences around
    it, and about a part of the document without it."""
    examples: list[Example] = []
    for document in documents:
        for context, asked in document.paragraphs:
            parts = chunks(context)
            for example in asked:
                if rng.random() < windows:
                    examples.append(window(example, rng, rng.choice(_WINDOWS)))
                if rng.random() < sentence:
                    examples.append(around_answer(example, *rng.choice(_AROUND[1:5])))
                if rng.random() < nothing and parts:
                    examples += without_answer(example, rng.choice(parts))
    return examples


def without_answer(example: Example, context: str) -> list[Example]:
    """The question about a context that does not answer it; none where the context is short or holds an
    answer."""
    low = context.lower()
    if len(context) <= SHORTEST_CONTEXT or any(gold.text.lower() in low for gold in example.answers):
        return []
    return [replace(example, context=context, answers=())]


def window(example: Example, rng: Random, characters: int) -> Example:
    """A run of sentences of a long text, at most so many characters, with the first answer somewhere in
    it."""
    answer, spans = example.answers[0], sentences(example.context)
    holding = [n for n, (a, b) in enumerate(spans) if a < answer.end and b > answer.start]
    first, last = holding[0], holding[-1]
    while True:
        wider = [
            (a, b)
            for a, b in ((first - 1, last), (first, last + 1))
            if a >= 0 and b < len(spans) and spans[b][1] - spans[a][0] <= characters
        ]
        if not wider:
            return cut(example, spans[first][0], spans[last][1])
        first, last = rng.choice(wider)


def chunks(text: str) -> list[str]:
    """A long text in runs of whole sentences of about CHUNK_CHARACTERS."""
    runs: list[tuple[int, int]] = []
    for start, end in sentences(text):
        if runs and end - runs[-1][0] <= CHUNK_CHARACTERS:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    return [text[start:end].strip() for start, end in runs]
