"""The SQuAD metric, on cases worked out by hand."""

from __future__ import annotations

import pytest

from keymiss.qa import metric


@pytest.mark.parametrize(
    ("text", "normal"),
    [("The Black Death.", "black death"), ("  an  apple, a day ", "apple day"), ("U.S.", "us"), ("the", "")],
)
def test_case_articles_and_punctuation_do_not_count(text: str, normal: str) -> None:
    assert metric.normalise(text) == normal


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    assert metric.f1("measles virus", ["the measles virus in humans"]) == pytest.approx(2 * 1 * 0.5 / 1.5)


def test_repeated_words_count_as_often_as_both_have_them() -> None:
    assert metric.f1("no no no", ["no no"]) == pytest.approx(2 * 2 / 5)


def test_the_gold_that_fits_best_counts() -> None:
    assert metric.f1("ebola", ["measles", "ebola virus"]) == pytest.approx(2 / 3)
    assert metric.exact_match("Ebola", ["measles", "ebola"])


def test_score_is_in_percent_over_all_questions() -> None:
    assert metric.score(["a cat", "dog"], [["cat"], ["big dog"]]) == (
        50.0,
        pytest.approx(100 * (1 + 2 / 3) / 2),
    )


def test_no_questions_have_no_score() -> None:
    with pytest.raises(ValueError, match="0 answers"):
        metric.score([], [])
