"""Questions and paragraphs as the model reads them: `[CLS] question [SEP] paragraph [SEP]`, token types 0
and 1.

Both are tokenised apart from each other, so that a paragraph is tokenised once, when it is stored, and a
question when it is asked. A paragraph keeps, for each word piece, where in the text it stands: an answer is
then the exact substring.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from types import NoneType
from typing import cast

from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

MAX_TOKENS = 512  # positions of a BERT model, where its tokenizer says nothing else
MAX_QUESTION_TOKENS = 64
MAX_QUESTION_CHARACTERS = 8192  # millions take seconds until they are counted in word pieces
OVERLAP_TOKENS = 64  # of two windows of a paragraph that is too long for one

_SEAL = Struct("<3i")
_MAX_CHUNKS = 1 << 14  # of questions whose word pieces are kept
_LONGEST_CHUNK = 64  # characters
_ZERO, _ONE = (number.to_bytes(8, "little") for number in (0, 1))  # of an INT64 tensor


Seal = tuple[int, int, int]  # of a text and the tokenizer of its word pieces


class QuestionTooLong(ValueError):
    """A question of more word pieces than the encoder allows, or of more characters."""


@dataclass(frozen=True)
class Pieces:
    """The word pieces of a text: their ids and where each stands in the text, `text[start:end]`, in
    characters."""

    ids: Sequence[int]
    starts: Sequence[int]
    ends: Sequence[int]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the tensor of `to_blob`."""
        return 3, len(self.ids) + 1

    def to_blob(self, seal: Seal) -> bytes:
        """The data of an INT32 tensor of shape [3, pieces + 1]: rows of ids, of starts and of ends, each
        with a number of the seal at its end."""
        of_ids, of_starts, of_ends = seal
        numbers = array("i", [*self.ids, of_ids, *self.starts, of_starts, *self.ends, of_ends])
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers.tobytes()

    @classmethod
    def from_blob(cls, blob: bytes, seal: Seal) -> Pieces:
        """What `to_blob` made with this seal. ValueError where it cannot have been."""
        if not blob or len(blob) % (3 * 4):
            raise ValueError(f"{len(blob)} bytes are no INT32 tensor of shape [3, pieces + 1]")
        numbers = array("i", blob)
        if sys.byteorder == "big":
            numbers.byteswap()
        width = len(numbers) // 3
        rows = [numbers[first : first + width] for first in range(0, len(numbers), width)]
        if tuple(row.pop() for row in rows) != seal:
            raise ValueError("the word pieces are of another text, or another tokenizer made them")
        return cls(*rows)


@dataclass(frozen=True)
class Window:
    """One input of the model: a question with a paragraph, or with a part of one. Batch dimension 1 for all
    three rows."""

    input_ids: list[int]
    first: int  # position in input_ids of the first piece of the paragraph
    skipped: int  # pieces of the paragraph before this window
    count: int  # pieces of the paragraph in this window

    @property
    def attention_mask(self) -> list[int]:
        return [1] * len(self.input_ids)

    @property
    def token_type_ids(self) -> list[int]:
        return [0] * self.first + [1] * (len(self.input_ids) - self.first)

    def blobs(self) -> tuple[bytes, bytes, bytes]:
        """input_ids, attention_mask and token_type_ids as data of INT64 tensors of shape [1,
        len(input_ids)]."""
        length = len(self.input_ids)
        return _int64(self.input_ids), _ONE * length, _ZERO * self.first + _ONE * (length - self.first)


class Encoder:
    """Tokenises texts and joins them to windows of at most `max_tokens`: what the tokenizer's truncation
    says, else MAX_TOKENS. It is switched off here, since texts are cut into windows instead."""

    def __init__(self, tokenizer: Tokenizer, max_question_tokens: int = MAX_QUESTION_TOKENS) -> None:
        max_tokens: int = tokenizer.truncation["max_length"] if tokenizer.truncation else MAX_TOKENS
        tokenizer.no_truncation()
        tokenizer.no_padding()
        cls_id, sep_id = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
        if cls_id is None or sep_id is None:
            raise ValueError("the tokenizer has no [CLS] and [SEP]: only BERT-like models are known here")
        if max_tokens <= max_question_tokens + OVERLAP_TOKENS + 3:
            raise ValueError(f"{max_tokens} tokens leave no room for a paragraph")
        self._tokenizer, self._cls, self._sep = tokenizer, cls_id, sep_id
        self._seal_key = blake2b(tokenizer.to_str().encode()).digest()
        self._by_chunk = _takes_chunks(tokenizer)
        self._chunks: dict[str, list[int]] = {}
        self.max_tokens, self.max_question_tokens = max_tokens, max_question_tokens

    @classmethod
    def from_file(cls, path: str | Path) -> Encoder:
        """An encoder with the tokenizer of a `tokenizer.json`."""
        return cls(Tokenizer.from_file(str(path)))

    def pieces(self, text: str) -> Pieces:
        """The word pieces of a text of any length, without special tokens."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        starts, ends = zip(*encoding.offsets, strict=True) if encoding.offsets else ((), ())
        return Pieces(encoding.ids, starts, ends)

    def seal(self, text: str) -> Seal:
        """Tells the word pieces that this encoder makes of `text` from those of other texts and encoders."""
        digest = blake2b(text.encode(), digest_size=_SEAL.size, key=self._seal_key).digest()
        return cast(Seal, _SEAL.unpack(digest))

    def question(self, text: str) -> Sequence[int]:
        """The ids of a question. QuestionTooLong over `max_question_tokens` word pieces, or
        MAX_QUESTION_CHARACTERS.

        Questions are made of the same words over and over. Where the tokenizer sees to each word by itself,
        what stands between two spaces is tokenised once: 12 words then take 3 us instead of 85."""
        if len(text) > MAX_QUESTION_CHARACTERS:
            raise QuestionTooLong(
                f"the question has {len(text)} characters, at most {MAX_QUESTION_CHARACTERS} are allowed"
            )
        ids: list[int] = []
        for chunk in text.split(" ") if self._by_chunk else (text,):
            known = self._chunks.get(chunk)
            ids += self._learn(chunk) if known is None else known
        if len(ids) > self.max_question_tokens:
            raise QuestionTooLong(
                f"the question has {len(ids)} word pieces, at most {self.max_question_tokens} are allowed"
            )
        return ids

    def _learn(self, chunk: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(chunk, add_special_tokens=False).ids
        if len(chunk) <= _LONGEST_CHUNK:
            if len(self._chunks) >= _MAX_CHUNKS:
                self._chunks.clear()
            self._chunks[chunk] = ids
        return ids

    def windows(self, question: Sequence[int], paragraph: Pieces) -> Iterator[Window]:
        """The question with the paragraph: one window where both fit into `max_tokens`, else several that
        overlap."""
        head = [self._cls, *question, self._sep]
        room = self.max_tokens - len(head) - 1
        skipped = 0
        while True:
            part = paragraph.ids[skipped : skipped + room]
            yield Window([*head, *part, self._sep], len(head), skipped, len(part))
            if skipped + room >= len(paragraph):
                return
            skipped += room - OVERLAP_TOKENS


def _takes_chunks(tokenizer: Tokenizer) -> bool:
    """Whether texts between spaces are tokenised apart from each other, as by BERT's own steps."""
    return (
        isinstance(tokenizer.normalizer, (BertNormalizer, NoneType))
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and not any(" " in token.content for token in tokenizer.get_added_tokens_decoder().values())
    )


def _int64(numbers: Sequence[int]) -> bytes:
    values = array("q", numbers)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()
