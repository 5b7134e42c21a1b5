"""Texts are numbered from 1, sentence by sentence or block by block."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.paths import shared_folder

from keymiss.corpus import Article, Question, number_paragraphs, read_articles


def test_sentences_are_numbered_through_the_blocks() -> None:
    article = Article("a", ("One is short. Two is, too.", "Three\nspans  lines."))
    assert number_paragraphs(article).texts == {
        "1": "One is short.",
        "2": "Two is, too.",
        "3": "Three spans lines.",
    }


def test_abbreviations_and_decimals_end_no_sentence() -> None:
    article = Article(
        "a", ("Viruses (e.g. H1N1) spread, as Smith et al. (2003) showed. R0 is 1.3 in Fig. 2.",)
    )
    assert len(number_paragraphs(article).texts) == 2


def test_paragraphs_are_kept_as_they_are() -> None:
    article = Article("a", (" One  is\nshort. Two is, too. ", "\n", "Three."))
    assert number_paragraphs(article, "paragraph").texts == {
        "1": "One  is\nshort. Two is, too.",
        "2": "Three.",
    }


def test_pieces_without_letters_are_left_out() -> None:
    assert number_paragraphs(Article("a", ("...", "--- !\n\nText.", ""))).texts == {"1": "Text."}


@pytest.mark.parametrize(
    ("question", "sample"),
    [
        (Question("q", block=1, start=8), ("q", "4")),
        (Question("q", sentence="Two  is,\ntoo."), ("q", "2")),
        (Question("q", sentence="Not there."), None),
    ],
)
def test_a_question_is_placed_in_the_sentence_that_answers_it(
    question: Question, sample: tuple[str, str] | None
) -> None:
    article = Article("a", ("One is short. Two is, too.", "A one. B two. C three."), (question,))
    assert number_paragraphs(article).sample == sample


def test_the_sample_question_of_real_articles_has_its_answer_in_the_sentence() -> None:
    folder = shared_folder()
    if folder is None:
        pytest.skip("needs the shared data sets")
    path = folder / "data" / "squad_heldout.json"
    answers = {
        (entry["title"], qa["question"]): [answer["text"] for answer in qa["answers"]]
        for entry in json.loads(path.read_text())["data"]
        for paragraph in entry["paragraphs"]
        for qa in paragraph["qas"]
    }
    titles = {title.replace(" ", "_"): title for title, _ in answers}
    for article in read_articles(Path(path)):
        numbered = number_paragraphs(article)
        assert numbered.sample is not None
        question, number = numbered.sample
        assert any(text in numbered.texts[number] for text in answers[titles[article.name], question])
