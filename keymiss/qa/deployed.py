"""The tokenizer that stands beside the model of a shard, as an encoder. For functions in the functions
worker.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from tokenizers import Tokenizer

from keymiss.keys import tokenizer_key
from keymiss.qa.encode import Encoder

Execute = Callable[..., Any]  # the name `execute` of functions

FRESH_S = 1.0  # how long a digest is taken for the one that is stored

_fresh: dict[str, tuple[float, Encoder]] = {}  # by hash tag: until when, and the encoder
_encoders: dict[str, Encoder] = {}  # by digest


class NoTokenizer(LookupError):
    """There is no tokenizer on this shard: no model was stored by `keymiss model store`."""


def deployed_encoder(execute: Execute, tag: str) -> Encoder:
    """The encoder of the model on the shard of `tag`; read once, and again when another one is stored.

    NoTokenizer where there is none."""
    until, encoder = _fresh.get(tag, (0.0, None))
    if encoder is None or monotonic() > until:
        encoder = _read(execute, tag)
        _fresh[tag] = (monotonic() + FRESH_S, encoder)
    return encoder


def text_of(value: str | bytearray) -> str:
    """A text as functions get it from the shard; of one that is not UTF-8 the bytes that do not fit are
    replaced."""
    return value if isinstance(value, str) else value.decode(errors="replace")


def _read(execute: Execute, tag: str) -> Encoder:
    digest = execute("HGET", tokenizer_key(tag), "digest")
    if digest is None:
        raise NoTokenizer(f"no tokenizer in {tokenizer_key(tag)}: store a model with `keymiss model store`")
    if digest not in _encoders:
        _encoders.clear()  # one at a time: the last one is not needed any more
        _encoders[digest] = Encoder(Tokenizer.from_str(execute("HGET", tokenizer_key(tag), "json")))
    return _encoders[digest]
