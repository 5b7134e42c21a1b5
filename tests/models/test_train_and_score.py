"""Training and scoring, on a few questions; and the published figures, where the data is at hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from keymiss_deploy.models import delta, score, squad, train
from keymiss_deploy.models.export import Exported
from keymiss_deploy.models.logits import load_logits
from keymiss_deploy.models.squad import Example, Gold
from support.paths import shared_folder

from keymiss.qa import Encoder

TEXT = "Ebola virus was first seen in 1976 near the Ebola River in Zaire. Bats are thought to carry it."
QUESTIONS = (("When was Ebola virus first seen?", "1976"), ("Which animals carry it?", "Bats"))

PUBLISHED = [("covidqa_heldout.json", "sentence", 30.7, 64.5)]
if os.environ.get("KEYMISS_ACCURACY") == "full":  # all of SQuAD takes minutes
    PUBLISHED += [
        ("squad_heldout.json", "sentence", 68.0, 81.1),
        ("squad_heldout.json", "paragraph", 62.6, 75.0),
    ]


def examples() -> list[Example]:
    return [Example(q, TEXT, (Gold(a, TEXT.index(a)),)) for q, a in QUESTIONS]


@pytest.mark.slow
def test_the_model_answers(exported: Exported, form: str) -> None:
    encoder = Encoder.from_file(exported.tokenizer)
    answers = score.predict(load_logits(exported.model(form), form), encoder, examples())
    assert [answer.text for answer in answers] == ["1976", "Bats"]
    assert all(answer.margin > 0 for answer in answers)


@pytest.mark.slow
def test_the_model_says_when_there_is_no_answer(exported: Exported, form: str) -> None:
    encoder = Encoder.from_file(exported.tokenizer)
    asked = [Example("How many moons has Jupiter?", TEXT, ())]
    (answer,) = score.predict(load_logits(exported.model(form), form), encoder, asked)
    assert answer.margin < 0


@pytest.mark.slow
@pytest.mark.skipif(shared_folder() is None, reason="the held-out questions are not at hand")
@pytest.mark.parametrize(("file", "context", "exact", "f1"), PUBLISHED)
def test_the_published_figures_hold(
    exported: Exported, form: str, file: str, context: str, exact: float, f1: float
) -> None:
    folder = shared_folder()
    assert folder is not None
    asked = list(squad.examples(folder / "data" / file, context))
    encoder = Encoder.from_file(exported.tokenizer)
    found = score.score(load_logits(exported.model(form), form), encoder, asked)
    assert found == (pytest.approx(exact, abs=0.3), pytest.approx(f1, abs=0.3))


def test_a_feature_points_at_the_answer() -> None:
    model, encoder = train.untrained("base", 0.0)
    assert not model.bert.embeddings.word_embeddings.weight.requires_grad
    for example in examples():
        made = train.feature(example, encoder, Random(1))
        assert made is not None
        pieces = made.window.input_ids[made.start : made.end + 1]
        assert pieces == list(encoder.pieces(example.answers[0].text).ids)
    nothing = train.feature(Example("Why?", TEXT, ()), encoder, Random(1))
    assert nothing is not None
    assert (nothing.start, nothing.end) == (0, 0)


@pytest.mark.slow
def test_training_makes_a_model_that_can_be_loaded(tmp_path: Path) -> None:
    asked = [
        {"id": q, "question": q, "answers": [{"text": a, "answer_start": TEXT.index(a)}]}
        for q, a in QUESTIONS
    ]
    file = tmp_path / "squad.json"
    file.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [{"context": TEXT, "qas": asked}]}]}))
    command = [
        sys.executable,
        "-m",
        "keymiss_deploy.models.train",
        "--paragraphs",
        str(file),
        "--epochs",
        "2",
    ]
    done = subprocess.run(
        [*command, str(tmp_path / "out")], capture_output=True, text=True, timeout=300, check=True
    )
    assert "loss" in done.stdout
    weights = delta.apply(tmp_path / "out.safetensors")
    assert weights.keys() == delta.apply().keys()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
