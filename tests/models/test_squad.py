"""SQuAD files, sentences, and the part of a text that a question is asked about."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keymiss_deploy.models import mix, squad
from keymiss_deploy.models.squad import Example, Gold

TEXT = "Dr. Snow mapped cholera in 1854. He lived in London, e.g. in Soho. Water spread it.\nNobody knew."


def test_sentences_end_at_full_stops_but_not_at_abbreviations() -> None:
    assert [TEXT[a:b].strip() for a, b in squad.sentences(TEXT)] == [
        "Dr. Snow mapped cholera in 1854.",
        "He lived in London, e.g. in Soho.",
        "Water spread it.",
        "Nobody knew.",
    ]


@given(st.text(alphabet="ab .!?\n\"')[1]ABU", max_size=200))
def test_sentences_lie_one_after_the_other_and_leave_only_space_out(text: str) -> None:
    spans = squad.sentences(text)
    assert all(a < b for a, b in spans)
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:]))  # noqa: B905, RUF007
    kept = "".join(text[a:b] for a, b in spans)
    assert kept.split() == text.split()


def about(answer: str) -> Example:
    return Example("?", TEXT, (Gold(answer, TEXT.index(answer)),))


def test_the_sentence_that_holds_the_answer_is_found_and_the_answer_in_it() -> None:
    cut = squad.around_answer(about("London"))
    assert cut.context == "He lived in London, e.g. in Soho."
    assert cut.answers == (Gold("London", 12),)


def test_neighbours_are_taken_where_there_are_some() -> None:
    cut = squad.around_answer(about("Nobody"), before=1, after=3)
    assert cut.context == "Water spread it.\nNobody knew."
    assert cut.context[cut.answers[0].start : cut.answers[0].end] == "Nobody"


def test_answers_that_are_cut_off_are_dropped() -> None:
    both = Example("?", TEXT, (Gold("Snow", 4), Gold("Nobody", TEXT.index("Nobody"))))
    assert squad.around_answer(both).answers == (Gold("Snow", 4),)


def test_questions_without_an_answer_are_left_out(tmp_path: Path) -> None:
    asked = [
        {"id": "1", "question": "Who?", "answers": [{"text": "Snow", "answer_start": 4}]},
        {"id": "2", "question": "Why?", "answers": []},
    ]
    file = tmp_path / "squad.json"
    file.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [{"context": TEXT, "qas": asked}]}]}))
    for policy in squad.POLICIES:
        assert [example.question for example in squad.examples(file, policy)] == ["Who?"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"data": [{"title": "t"}]}', '{"data": [{"paragraphs": 1}]}']
)
def test_a_file_of_another_format_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"other\.json is no SQuAD file"):
        squad.read(file)


LONG = " ".join(f"Sentence number {n} of a long text stands here." for n in range(60))


@given(st.integers(0, 59), st.sampled_from([100, 300, 1000]), st.integers(0, 5))
def test_a_window_of_a_document_holds_the_answer_and_is_not_too_long(
    at: int, characters: int, seed: int
) -> None:
    answer = f"number {at} of"
    example = Example("?", LONG, (Gold(answer, LONG.index(answer)),))
    window = mix.window(example, Random(seed), characters)
    assert len(window.context) <= characters
    assert window.context[window.answers[0].start : window.answers[0].end] == answer


def test_chunks_of_a_document_are_its_sentences() -> None:
    chunks = mix.chunks(LONG)
    assert " ".join(chunks) == LONG
    assert max(map(len, chunks)) <= mix.CHUNK_CHARACTERS
    assert len(chunks) < 6


def test_a_context_that_holds_the_answer_is_no_example_without_one() -> None:
    example = about("cholera")
    assert mix.without_answer(example, "There was CHOLERA in the water of the pump.") == []
    (found,) = mix.without_answer(example, "There was nothing at all in the water.")
    assert found.answers == ()
