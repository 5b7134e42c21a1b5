"""The keys of the question-answering deployment: how they are written and read.

    sentence:<article>:{tag}                       hash, <number> -> text
    tokenized:bert:qa:<article>:{tag}:<number>     tensor, the text's tokens
    processed_docs_stage3_tokenized{tag}           set of the tensors' keys
    bertqa{tag}_<article>:{tag}:<number>_<question>     answered when missing; then the cached answer
    score:bertqa{tag}_...                          "<score> <margin>" of that answer, where many were asked
    bert-qa{tag}                                   the model
    tokenizer:bert-qa{tag}                         hash: json, the model's tokenizer; digest, of that; stored,
                                                   how many times it or the model was; stale, while answers
                                                   of another one are to be forgotten
    samples:qa:{tag}                               hash, <article> -> a question key that has an answer
    changed:qa:{tag}                               set of articles whose cached answers are to be forgotten

A text in a hash is called a paragraph here, be it one sentence or several. `tag` is the hash tag of the shard
that holds all of these; an article's name holds no braces and no white space, a question anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SENTENCES_PREFIX = "sentence:"
TOKENS_PREFIX = "tokenized:bert:qa:"
QUESTION_PREFIX = "bertqa"
SCORE_PREFIX = "score:"
QUESTION_FORM = "bertqa{tag}_<article>:{tag}:<number>_<question>"

_QUESTION = re.compile(r"bertqa\{([^{}]+)\}_([^{}]+):\{\1\}:([0-9]+)_(.*)", re.DOTALL)
_UNFIT = re.compile(r"[\s{}]+")
_NUMBERED = re.compile(r":(?=[0-9]+$)")


@dataclass(frozen=True)
class Paragraph:
    """One numbered text of an article, on the shard of `tag`."""

    article: str
    tag: str
    number: str

    @property
    def name(self) -> str:
        """As the keys of its tokens and its questions write it."""
        return f"{self.article}:{{{self.tag}}}:{self.number}"

    @property
    def hash_key(self) -> str:
        """The hash whose field `number` is the text."""
        return sentences_key(self.article, self.tag)

    @property
    def tokens_key(self) -> str:
        return f"{TOKENS_PREFIX}{self.name}"

    def question_key(self, question: str) -> str:
        return f"{QUESTION_PREFIX}{{{self.tag}}}_{self.name}_{question}"


def routing_key(article: str) -> str:
    """A key of the shard that the article is loaded into, for commands that go there."""
    return f"{QUESTION_PREFIX}{{{article}}}"


def score_key(question_key: str) -> str:
    return f"{SCORE_PREFIX}{question_key}"


def sentences_key(article: str, tag: str) -> str:
    return f"{SENTENCES_PREFIX}{article}:{{{tag}}}"


def processed_key(tag: str) -> str:
    return f"processed_docs_stage3_tokenized{{{tag}}}"


def model_key(tag: str) -> str:
    return f"bert-qa{{{tag}}}"


def tokenizer_key(tag: str) -> str:
    return f"tokenizer:bert-qa{{{tag}}}"


def samples_key(tag: str) -> str:
    return f"samples:qa:{{{tag}}}"


def changed_key(tag: str) -> str:
    return f"changed:qa:{{{tag}}}"


def article_name(text: str) -> str:
    """`text` as a name that keys can hold: runs of white space and braces become one underscore,
    and none at the ends; so does the colon of what would be taken for a paragraph, <article>:<number>."""
    return _NUMBERED.sub("_", _UNFIT.sub("_", text.strip()).strip("_")).strip("_")


def parse_sentences_key(key: str) -> tuple[str, str]:
    """The article and the tag of a hash of paragraphs. ValueError where `key` is none."""
    article, colon, tag = key.removeprefix(SENTENCES_PREFIX).rpartition(":")
    if not (key.startswith(SENTENCES_PREFIX) and article and colon and tag[:1] == "{" and tag[-1:] == "}"):
        raise ValueError(f"{key!r} is not of the form sentence:<article>:{{tag}}")
    return article, tag[1:-1]


def parse_paragraph_name(name: str) -> tuple[str, str]:
    """The article and the number in `<article>:<number>`; the number is "" where there is none.

    ValueError where that cannot be an article."""
    article, _, number = name.rpartition(":")
    if not (article and number.isascii() and number.isdecimal()):
        article, number = name, ""
    if not article or _UNFIT.search(article):
        raise ValueError(f"{name!r} is no <article> or <article>:<number>")
    return article, number


def parse_question_key(key: str) -> tuple[Paragraph, str]:
    """The paragraph that is asked, and the question. ValueError where `key` is no question key.

    The article ends at its hash tag and the number at the first underscore after it, so that articles may
    hold underscores and colons, and questions anything."""
    match = _QUESTION.fullmatch(key)
    if match is None:
        raise ValueError(f"{key!r} is not of the form {QUESTION_FORM}")
    tag, article, number, question = match.groups()
    return Paragraph(article, tag, number), question
