"""One question about many paragraphs: what is sent to a shard, and what its answers mean. Pure, for clients
of every kind; gears/answer.py answers.

A paragraph is written ARTICLE:NUMBER, ARTICLE stands for all of its paragraphs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..keys import parse_paragraph_name, routing_key
from .shards import text_of

S = TypeVar("S", bound=Hashable)

KEY_AT = 2  # in `words_of`
UNKNOWN_TRIGGER = "subcommand not found"  # a shard, of `words_of` where the function is not deployed


@dataclass(frozen=True)
class ParagraphAnswer:
    """What the model finds in one paragraph: `text`, word for word, or nothing.

    `score` is that of the best span, `margin` how much better it is than the model's "there is no answer":
    the text is empty where it is not above 0. `error`: why the paragraph could not be asked; else None."""

    paragraph: str
    text: str = ""
    score: float = 0.0
    margin: float = 0.0
    error: str | None = None


@dataclass(frozen=True)
class Answers:
    """One for each paragraph, in the order in which they were named."""

    paragraphs: Sequence[ParagraphAnswer]

    @property
    def best(self) -> ParagraphAnswer | None:
        """The one whose margin is the largest; None where no paragraph has an answer."""
        found = [one for one in self.paragraphs if one.text]
        return max(found, key=lambda one: one.margin, default=None)

    @property
    def errors(self) -> list[ParagraphAnswer]:
        """Those that could not be asked."""
        return [one for one in self.paragraphs if one.error is not None]


def names_of(paragraphs: str | Iterable[str]) -> list[str]:
    """The names of paragraphs. ValueError where there are none, or one cannot be."""
    names = [paragraphs] if isinstance(paragraphs, str) else list(paragraphs)
    if not names:
        raise ValueError("no paragraph is named")
    for name in names:
        parse_paragraph_name(name)
    return names


def grouped(names: Iterable[str], shard_of: Callable[[str], S]) -> dict[S, list[str]]:
    """The names by the shard of their articles."""
    groups: dict[S, list[str]] = {}
    for name in names:
        groups.setdefault(shard_of(parse_paragraph_name(name)[0]), []).append(name)
    return groups


def words_of(question: str, names: Sequence[str]) -> tuple[str, ...]:
    """The command that asks the shard of these. It has a key, for a server that does not serve the shard any
    more to say which does."""
    article, _ = parse_paragraph_name(names[0])
    return "RG.TRIGGERONKEY", "ask_on_key", routing_key(article), question, *names


def read_rows(reply: Any) -> list[ParagraphAnswer]:
    """The answers in a shard's reply to `words_of`."""
    (rows,) = reply
    return [_answer(*row) for row in rows]


def joined(names: Sequence[str], answers: Iterable[Sequence[ParagraphAnswer]]) -> Answers:
    """The answers of all shards, in the order of the names."""
    order = {name: n for n, name in enumerate(names)}

    def place(one: ParagraphAnswer) -> int:
        article, _ = parse_paragraph_name(one.paragraph)
        return min(order.get(one.paragraph, len(order)), order.get(article, len(order)))

    return Answers(sorted((one for some in answers for one in some), key=place))


def _answer(paragraph: Any, text: Any, score: Any = 0, margin: Any = 0) -> ParagraphAnswer:
    name = text_of(paragraph)
    if isinstance(text, Exception):
        return ParagraphAnswer(name, error=str(text))
    return ParagraphAnswer(name, text_of(text), float(score), float(margin))
