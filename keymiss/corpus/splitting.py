"""Blocks of text become numbered paragraphs: one a sentence, or one a block."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import sentencex

from .articles import Article, Question

UNITS = ("sentence", "paragraph")
_WORD = re.compile(r"\w")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Numbered:
    """Paragraphs by number, from "1", and one question about the article with the number that answers it."""

    texts: dict[str, str]
    sample: tuple[str, str] | None


def number_paragraphs(article: Article, unit: str = "sentence", language: str = "en") -> Numbered:
    """The article's sentences (runs of white space made one space) or, with unit "paragraph", its blocks as
    they are.

    `language` is a code such as "en" or "de". Pieces without a letter or digit are left out."""
    texts: dict[str, str] = {}
    places: list[tuple[int, int, str]] = []  # block, first character, number
    for block, text in enumerate(article.blocks):
        for start, piece in _pieces(text, unit, language):
            number = str(len(texts) + 1)
            texts[number] = piece
            places.append((block, start, number))
    return Numbered(texts, _sample(article.questions, texts, places))


def sample_of(article: Article, texts: dict[str, str]) -> tuple[str, str] | None:
    """The article's first question whose sentence is one of `texts` (paragraphs by number), with that
    number."""
    return _sample(article.questions, texts, [])


def _pieces(text: str, unit: str, language: str) -> Iterator[tuple[int, str]]:
    """The pieces of a block, each with the offset of its first character."""
    if unit == "paragraph":
        piece = text.strip()
        if _WORD.search(piece):
            yield text.index(piece), piece
        return
    start = 0
    for sentence in sentencex.segment(language, text):
        if _WORD.search(sentence):
            yield start, _SPACE.sub(" ", sentence.strip())
        start += len(sentence)


def _sample(
    questions: tuple[Question, ...], texts: dict[str, str], places: list[tuple[int, int, str]]
) -> tuple[str, str] | None:
    """The first question whose paragraph is found, with its number."""
    numbers = {text: number for number, text in reversed(texts.items())}
    for question in questions:
        if question.sentence is not None:
            number = numbers.get(_SPACE.sub(" ", question.sentence.strip()))
        else:
            before = [place for place in places if place[:2] <= (question.block, question.start)]
            number = before[-1][2] if before else None
        if number is not None:
            return question.text, number
    return None
