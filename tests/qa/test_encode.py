"""Questions and paragraphs as inputs of the model."""

from __future__ import annotations

import itertools
from struct import unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from keymiss.qa import Encoder, Pieces, QuestionTooLong
from keymiss.qa.encode import OVERLAP_TOKENS

VOCABULARY = {
    "[PAD]": 0,
    "[UNK]": 1,
    "[CLS]": 2,
    "[SEP]": 3,
    "who": 4,
    "spread": 5,
    "##s": 6,
    "it": 7,
    "?": 8,
}


def tokenizer(max_tokens: int | None = None) -> Tokenizer:
    made = Tokenizer(models.WordPiece(VOCABULARY, unk_token="[UNK]"))
    made.add_special_tokens(["[SEP]"])
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if max_tokens is not None:
        made.enable_truncation(max_tokens)
        made.enable_padding(length=max_tokens)
    return made


def joining() -> Tokenizer:
    """One that joins words."""
    made = tokenizer()
    made.pre_tokenizer = pre_tokenizers.CharDelimiterSplit("|")
    made.add_tokens(["it spreads"])
    return made


def test_pieces_know_where_they_stand() -> None:
    text = "Who spreads it?"
    pieces = Encoder(tokenizer()).pieces(text)
    spans = zip(pieces.starts, pieces.ends, strict=True)
    assert [text[start:end] for start, end in spans] == ["Who", "spread", "s", "it", "?"]


def test_offsets_are_characters_not_bytes() -> None:
    pieces = Encoder(tokenizer()).pieces("Žluťoučký it")
    assert (pieces.starts[-1], pieces.ends[-1]) == (10, 12)


def test_question_and_paragraph_stand_between_special_tokens() -> None:
    encoder = Encoder(tokenizer())
    (window,) = encoder.windows(encoder.question("who?"), encoder.pieces("it spreads"))
    assert window.input_ids == [2, 4, 8, 3, 7, 5, 6, 3]
    assert window.attention_mask == [1] * 8
    assert window.token_type_ids == [0] * 4 + [1] * 4
    assert (window.first, window.skipped, window.count) == (4, 0, 3)


def test_blobs_are_int64() -> None:
    encoder = Encoder(tokenizer())
    (window,) = encoder.windows(encoder.question("who?"), encoder.pieces("it"))
    ids, mask, types = (list(unpack("<6q", blob)) for blob in window.blobs())
    assert (ids, mask, types) == ([2, 4, 8, 3, 7, 3], [1] * 6, [0, 0, 0, 0, 1, 1])


def test_an_empty_paragraph_is_one_window_without_pieces() -> None:
    encoder = Encoder(tokenizer())
    (window,) = encoder.windows(encoder.question("who?"), encoder.pieces(""))
    assert window.count == 0


def test_the_models_limit_is_the_tokenizers_truncation() -> None:
    encoder = Encoder(tokenizer(200))
    assert encoder.max_tokens == 200
    assert len(encoder.pieces("it " * 300)) == 300


def test_a_question_over_the_limit_is_refused() -> None:
    with pytest.raises(QuestionTooLong, match="65 word pieces, at most 64"):
        Encoder(tokenizer()).question("who " * 65)


@given(
    st.lists(st.sampled_from(["it", "who?", "Ž\u0301", "[SEP]", "\x1c", "\u3000", "病", " ", ""]) | st.text())
)
def test_a_question_has_the_pieces_that_the_tokenizer_gives_it(words: list[str]) -> None:
    text = " ".join(words)
    encoder = Encoder(tokenizer(), max_question_tokens=400)
    whole = tokenizer().encode(text, add_special_tokens=False).ids
    assert [encoder.question(text) for _ in range(2)] == [whole] * 2


def test_a_tokenizer_that_joins_words_is_given_the_whole_question() -> None:
    joins = joining()
    assert Encoder(joins).question("it spreads") == joins.encode("it spreads").ids


def test_a_tokenizer_of_another_family_is_refused() -> None:
    with pytest.raises(ValueError, match="BERT-like"):
        Encoder(Tokenizer(models.WordPiece({"<s>": 0, "<unk>": 1}, unk_token="<unk>")))


@given(st.integers(1, 2000), st.integers(1, 64), st.integers(140, 512))
def test_windows_cover_the_paragraph_and_fit_the_model(pieces: int, question: int, max_tokens: int) -> None:
    encoder = Encoder(tokenizer(max_tokens))
    paragraph = Pieces(range(pieces), range(pieces), range(1, pieces + 1))
    covered = set[int]()
    windows = list(encoder.windows([4] * question, paragraph))
    for window in windows:
        assert len(window.input_ids) <= max_tokens
        part = window.input_ids[window.first : window.first + window.count]
        assert part == list(range(window.skipped, window.skipped + window.count))
        covered.update(part)
    assert covered == set(range(pieces))
    for before, after in itertools.pairwise(windows):
        assert after.skipped == before.skipped + before.count - OVERLAP_TOKENS


SEAL = (1, -2, 3)


@given(st.lists(st.tuples(*[st.integers(0, 2**31 - 1)] * 3)))
def test_a_paragraph_comes_back_from_its_tensor(rows: list[tuple[int, int, int]]) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], []]
    pieces = Pieces(*columns)
    assert pieces.shape == (3, len(rows) + 1)
    back = Pieces.from_blob(pieces.to_blob(SEAL), SEAL)
    assert [list(back.ids), list(back.starts), list(back.ends)] == columns


def test_a_tensor_of_another_text_or_another_tokenizer_is_refused() -> None:
    encoder, other = Encoder(tokenizer()), Encoder(joining())
    blob = encoder.pieces("it").to_blob(encoder.seal("it"))
    assert Encoder(tokenizer(200)).seal("it") == encoder.seal("it"), "what is cut off later is the same"
    for seal in (encoder.seal("who"), other.seal("it")):
        with pytest.raises(ValueError, match="of another text, or another tokenizer"):
            Pieces.from_blob(blob, seal)


@pytest.mark.parametrize("size", [0, 13])
def test_a_blob_that_is_no_tensor_of_pieces_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"{size} bytes"):
        Pieces.from_blob(bytes(size), SEAL)
