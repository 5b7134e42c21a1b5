"""Exported models do what the eager model does, and come out the same each time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from keymiss_deploy.models.checking import check
from keymiss_deploy.models.deriving import derive
from keymiss_deploy.models.export import Exported, export
from keymiss_deploy.models.forms import FORMS
from keymiss_deploy.models.logits import INPUTS, OUTPUTS, load_logits, pad
from keymiss_deploy.models.source import DEFAULT, ExportError, ModelUnavailable, cache_folder, load_eager
from keymiss_deploy.models.tracing import LogitsModule, eager_logits, make
from support.tiny_models import BERT, DISTILBERT, tiny, word_pieces
from transformers import BertForQuestionAnswering, BertModel, DistilBertForQuestionAnswering

from keymiss.backends import Backends, Device
from keymiss.qa import Encoder

TEXTS = (
    ("Who wrote it?", "It was written by Mary."),
    (
        "When did the plague reach England?",
        "The plague reached England in June 1348, at Melcombe in Dorset. " * 9,
    ),
    ("Where?", "Here."),
)


MADE = ("torchscript", "onnx-int8", "openvino-bf16")  # of each way of making one


def rows(encoder: Encoder) -> list[tuple[list[int], list[int]]]:
    windows = [next(encoder.windows(encoder.question(q), encoder.pieces(text))) for q, text in TEXTS]
    return [(window.input_ids, window.token_type_ids) for window in windows]


@pytest.mark.slow
def test_logits_are_those_of_the_eager_model(exported: Exported, form: str) -> None:
    eager = eager_logits(LogitsModule(load_eager(DEFAULT, cache_folder())[0]))
    logits = load_logits(exported.model(form), form)
    three = rows(Encoder.from_file(exported.tokenizer))
    for batch in (three[:1], three[1:2], three[2:], three):
        inputs = pad(batch)
        for want, have in zip(eager(inputs), logits(inputs), strict=True):
            assert have.shape == inputs[0].shape
            assert have.dtype == np.float32
            assert np.abs(want - have)[inputs[1] == 1].max() < 1e-4


@pytest.mark.slow
def test_inputs_have_their_names(exported: Exported, form: str) -> None:
    model = Backends(1)[FORMS[form].backend].load(exported.model(form), Device("CPU"), (), ())
    assert model.inputs == INPUTS
    assert model.outputs == (("", "") if FORMS[form].runtime == "torch" else OUTPUTS)


@pytest.mark.slow
def test_weights_of_torchscript_can_be_mapped() -> None:
    file = export().model("torchscript")
    model = Backends(1)["TORCH"].load(file, Device("CPU"), (), ())
    assert model.mapped_bytes > 0.99 * model.weight_bytes > 80_000_000


@pytest.mark.slow
def test_another_process_makes_the_same_bytes(tmp_path: Path) -> None:
    """With other hashes, in an empty cache; and who comes while it exports waits for that."""
    code = "import sys; from keymiss_deploy.models.export import export; export(form=sys.argv[1])"
    env = {**os.environ, "PYTHONHASHSEED": "99", "KEYMISS_CACHE": str(tmp_path)}
    makers = [subprocess.Popen([sys.executable, "-c", code, form], env=env) for form in (*MADE, *MADE)]
    assert [maker.wait(300) for maker in makers] == [0] * len(makers)
    for form in MADE:
        (again,) = tmp_path.glob(f"*/{form}/{FORMS[form].file}")
        assert sha256(again) == sha256(export(form=form).model(form))


@pytest.mark.slow
def test_what_was_exported_is_found_without_torch(exported: Exported, form: str) -> None:
    code = (
        "import sys; from keymiss_deploy.models.export import export; "
        "export(form=sys.argv[1]); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, form], timeout=60, check=True)


def test_a_checkpoint_of_ones_own_is_exported(form: str, tmp_path: Path) -> None:
    folder = tiny(tmp_path / "bert", BertForQuestionAnswering(BERT))
    exported = export(folder, form, tmp_path / "cache")
    assert Encoder.from_file(exported.tokenizer).max_tokens == 512
    assert exported.model(form).is_file()


def test_every_form_of_a_checkpoint_without_token_types(any_form: str, tmp_path: Path) -> None:
    """Each was checked against the eager model when it was made; it takes types and ignores them."""
    name = tiny(tmp_path / "distilbert", DistilBertForQuestionAnswering(DISTILBERT))
    form = FORMS[any_form]
    made = tmp_path / "made"
    if form.runtime == "torch":
        make(name, any_form, tmp_path, made)
    else:
        make(name, "onnx", tmp_path, tmp_path / "traced")
        derive(tmp_path / "traced", form, made)
    logits = load_logits(made / form.file, any_form)
    with_types, without = pad([([1, 4, 5], [0, 1, 1])]), pad([([1, 4, 5], [0, 0, 0])])
    for one, other in zip(logits(with_types), logits(without), strict=True):
        assert np.array_equal(one, other)


def test_a_model_that_is_not_there_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelUnavailable, match="the default one needs no hub"):
        export("nobody/such-a-model", "torchscript", tmp_path)


def test_a_model_without_an_answer_head_is_refused_and_not_given_a_random_one(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "bert", BertModel(BERT))
    with pytest.raises(ModelUnavailable, match="it has no qa_outputs"):
        load_eager(folder, tmp_path)


def test_logits_that_differ_are_noticed() -> None:
    def eager(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.zeros(inputs[0].shape, np.float32)] * 2

    def off(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [array + 0.001 for array in eager(inputs)]

    encoder = Encoder(word_pieces(("[CLS]", "[SEP]")))
    check(eager, eager, encoder, 1e-4)
    with pytest.raises(ExportError, match="differ"):
        check(eager, off, encoder, 1e-4)


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
