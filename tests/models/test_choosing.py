"""`auto`: the fastest form whose answers are as good as the reference's, measured once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from keymiss_deploy.models import choosing
from keymiss_deploy.models.checkset import LEAST_ALIKE, Verdict, check_set, judge
from keymiss_deploy.models.choosing import Tried, choose, in_order, is_candidate
from keymiss_deploy.models.export import export
from keymiss_deploy.models.forms import AUTO, FORMS, REFERENCE, matching
from keymiss_deploy.models.source import DEFAULT, slug_of
from keymiss_deploy.models.trying import FormFailed
from onnx import numpy_helper

BITS = 3  # of a weight, one scale for a whole matrix: too few


def coarse(source: Path, target: Path) -> None:
    """The model with its matrices in BITS bits."""
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim == 2 and values.dtype == np.float32:
            step = np.abs(values).max() / (2 ** (BITS - 1) - 1)
            rounded = (np.round(values / step) * step).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    onnx.save(model, target)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Exports of the default model: the reference, and a form in 8 bits that has far fewer in truth."""
    exports = tmp_path / slug_of(DEFAULT)
    for form in (REFERENCE.name, "onnx-int8"):
        shutil.copytree(export(form="onnx" if form == "onnx-int8" else form).folder, exports / form)
    coarse(exports / "onnx-int8" / "model.onnx", exports / "onnx-int8" / "model.onnx")
    return tmp_path


@pytest.mark.slow
def test_a_form_that_answers_worse_is_not_taken_and_nothing_is_measured_twice(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms = [REFERENCE, FORMS["onnx-int8"]]
    monkeypatch.setattr(choosing, "check_set", lambda files: check_set(files)[:20])
    monkeypatch.setattr(choosing, "_ROUNDS", 1)
    monkeypatch.setattr(choosing, "_MOST_OTHERS", 1.5)  # other tests run
    choice = choose(DEFAULT, forms, cache=cache)
    assert (choice.form, choice.is_new) == (REFERENCE.name, True)
    coarse_one = next(one for one in choice.tried if one.form == "onnx-int8")
    assert coarse_one.speed > 0
    assert coarse_one.verdict is None or not coarse_one.verdict.passes  # None: it was slower

    def never(what: str) -> None:
        raise AssertionError(what)

    again = choose(DEFAULT, forms, cache=cache, say=never)
    assert (again.form, again.tried, again.is_new) == (choice.form, choice.tried, False)
    with monkeypatch.context() as busy:
        busy.setattr(choosing, "_MOST_OTHERS", -1.0)
        doubtful = choose(DEFAULT, forms, cache=cache, say=never)
        assert (doubtful.is_doubtful, doubtful.is_new) == (True, False)  # it would be no better now
    (note,) = (cache / slug_of(DEFAULT) / "chosen").glob("*.json")
    text = note.read_text()
    note.write_text(json.dumps(json.loads(text) | {"others": 2.0}))
    with pytest.raises(AssertionError, match="exporting"):  # it was made beside others, who are gone
        choose(DEFAULT, forms, cache=cache, say=never)
    note.write_text(text)
    assert choose(DEFAULT, forms, cache=cache, say=never).form == choice.form
    monkeypatch.setattr(choosing, "check_set", lambda files: check_set(files)[:21])
    with pytest.raises(AssertionError, match="exporting"):  # other questions may choose another one
        choose(DEFAULT, forms, cache=cache, say=never)


def test_without_their_libraries_other_forms_are_no_candidates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find: Callable[..., Any] = util.find_spec
    missing = ("onnxruntime", "openvino")
    monkeypatch.setattr(util, "find_spec", lambda name: None if name in missing else find(name))
    left = [form.runtime for form in matching(AUTO, AUTO) if is_candidate(form, "CPU")]
    assert set(left) == {"torch"}
    for runtime, extras in ("onnx", "export"), ("openvino", "export,openvino"):
        with pytest.raises(FormFailed) as error:
            choose(DEFAULT, matching(runtime, AUTO), cache=tmp_path)
        assert "no library for such a form is installed here" in str(error.value)
        assert f"pip install 'keymiss[{extras}]'" in str(error.value)


def test_a_precision_that_the_processor_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormFailed, match="this processor is not for fp16"):
        choose(DEFAULT, matching(AUTO, "fp16"), cache=tmp_path)


@pytest.mark.parametrize(("speed", "first"), [(2.83, "openvino-bf16"), (3.6, "onnx-int8")])
def test_eight_bits_have_to_be_worth_it(speed: float, first: str) -> None:
    tried = [Tried("torchscript", 1.0), Tried("onnx-int8", speed), Tried("openvino-bf16", 2.81)]
    assert in_order(tried)[0].form == first
    assert in_order(tried)[-1].form == "torchscript"


def test_half_precision_is_for_gpus() -> None:
    assert not is_candidate(FORMS["torchscript-fp16"], "CPU")
    assert is_candidate(FORMS["torchscript-fp16"], "GPU:1")


def test_the_check_set_asks_for_answers_that_are_there() -> None:
    asked = check_set()
    assert len(asked) > 600
    assert all(gold.text == one.context[gold.start : gold.end] for one in asked for gold in one.answers)
    assert all(len(one.answers) == 1 for one in asked)


def test_a_model_that_knows_none_of_the_answers_is_judged_by_its_own() -> None:
    asked = check_set()
    foreign = ["viscum album"] * len(asked)
    assert judge(asked, foreign, foreign).passes
    few = len(asked) // 20
    verdict = judge(asked, [*["tilia"] * few, *foreign[few:]], foreign)
    assert (verdict.f1, verdict.reference_f1) == (0.0, 0.0)
    assert verdict.alike < LEAST_ALIKE
    assert not verdict.passes


def test_points_that_are_lost_count() -> None:
    assert Verdict(f1=89.6, reference_f1=90.0, alike=99.0).passes
    assert not Verdict(f1=89.4, reference_f1=90.0, alike=99.0).passes
