"""What functions keep in the functions worker between two questions: the tokenizer that stands beside the
model of a shard, as an encoder, and the word pieces of the paragraphs that were asked last.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from keymiss.keys import Paragraph, tokenizer_key
from keymiss.qa.encode import Encoder, Pieces

Execute = Callable[..., Any]  # the name `execute` of functions

FRESH_S = 1.0  # how long what was read is taken for what is stored
MAX_CHARACTERS = 8 << 20  # of the paragraphs whose word pieces are kept, which take some five times as much


class Deployed(NamedTuple):
    """What stands beside the model of a shard."""

    encoder: Encoder
    stored: str  # how many times `keymiss model store` has stored a model or tokenizer there


_fresh: dict[str, tuple[float, Deployed]] = {}  # by hash tag: until when, and what
_encoders: dict[str, Encoder] = {}  # by digest


class NoTokenizer(LookupError):
    """There is no tokenizer on this shard: no model was stored by `keymiss model store`."""


def deployed(execute: Execute, tag: str) -> Deployed:
    """The encoder of the model on the shard of `tag`; read once, and again when another one is stored.

    NoTokenizer where there is none."""
    until, found = _fresh.get(tag, (0.0, None))
    if found is None or monotonic() > until:
        found = _read(execute, tag)
        _fresh[tag] = (monotonic() + FRESH_S, found)
    return found


def deployed_encoder(execute: Execute, tag: str) -> Encoder:
    """The encoder alone."""
    return deployed(execute, tag).encoder


class Known(NamedTuple):
    """A text, and its word pieces by an encoder."""

    encoder: Encoder
    text: str
    pieces: Pieces


class Paragraphs:
    """The paragraphs that were asked last, as they were then.

    A guess: whoever uses one must compare its text with the one that is stored."""

    def __init__(self, max_characters: int = MAX_CHARACTERS) -> None:
        self._known: OrderedDict[Paragraph, Known] = OrderedDict()
        self._characters = 0
        self._max_characters = max_characters

    def get(self, paragraph: Paragraph, encoder: Encoder) -> Known | None:
        """What is known of it, by this encoder."""
        known = self._known.get(paragraph)
        if known is None or known.encoder is not encoder:
            return None
        self._known.move_to_end(paragraph)
        return known

    def put(self, paragraph: Paragraph, known: Known) -> None:
        """Keep it, and forget those that were not asked for the longest time."""
        self.forget(paragraph)
        self._known[paragraph] = known
        self._characters += len(known.text)
        while self._characters > self._max_characters:
            self.forget(next(iter(self._known)))

    def forget(self, paragraph: Paragraph) -> None:
        gone = self._known.pop(paragraph, None)
        if gone is not None:
            self._characters -= len(gone.text)


def text_of(value: str | bytearray) -> str:
    """A text as functions get it from the shard; of one that is not UTF-8 the bytes that do not fit are
    replaced."""
    return value if isinstance(value, str) else value.decode(errors="replace")


def _read(execute: Execute, tag: str) -> Deployed:
    digest, stored = execute("HMGET", tokenizer_key(tag), "digest", "stored")
    if digest is None:
        raise NoTokenizer(f"no tokenizer in {tokenizer_key(tag)}: store a model with `keymiss model store`")
    if digest not in _encoders:
        _encoders.clear()  # one at a time: the last one is not needed any more
        _encoders[digest] = Encoder(Tokenizer.from_str(execute("HGET", tokenizer_key(tag), "json")))
    return Deployed(_encoders[digest], stored or "")
