"""What every reader yields, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass, field


class CorpusError(Exception):
    """A file cannot be read as a corpus; the text names the file, the place and what was expected."""


@dataclass(frozen=True)
class Question:
    """A question that the corpus itself answers: in block `block` of the article, from character `start`,
    or in the sentence that reads `sentence`."""

    text: str
    block: int = 0
    start: int = 0
    sentence: str | None = None


@dataclass(frozen=True)
class Article:
    """A name, as keys write it; its text in blocks (paragraphs of the source); what is known to be answered.

    An article without blocks only adds questions to one that is loaded."""

    name: str
    blocks: tuple[str, ...]
    questions: tuple[Question, ...] = field(default=())
