"""The default model: made of a package's weights and a delta, without a hub."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from keymiss_deploy.models import delta
from keymiss_deploy.models.source import DEFAULT, cache_folder, default_model, slug_of
from safetensors.numpy import load_file, save_file

WEIGHTS_SHA256 = "0e45cd6ef49f01a1971767100178291bbf29137d7bef15d92b2fc75f281089cb"


def test_its_weights_are_the_same_bits_everywhere(tmp_path: Path) -> None:
    folder = default_model(tmp_path / "default")
    assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() == WEIGHTS_SHA256
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["BertForQuestionAnswering"]


def test_a_delta_of_other_base_weights_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "delta.safetensors"
    save_file({"qa_outputs.bias": np.zeros(2, np.float16)}, other, {"base_sha256": "0" * 64})
    with pytest.raises(ValueError, match="other base weights"):
        delta.apply(other)


def test_a_delta_made_of_the_weights_gives_them_back(tmp_path: Path) -> None:
    weights = delta.apply()
    delta.make(weights, tmp_path / "again.safetensors")
    again = delta.apply(tmp_path / "again.safetensors")
    assert weights.keys() == again.keys()
    assert all(np.array_equal(weights[name], again[name]) for name in weights)


def test_a_delta_of_new_weights_is_small_and_close(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    base = delta.base_weights()
    name = "bert.encoder.layer.0.attention.self.query.weight"
    tuned = {**base, name: base[name] + rng.normal(0, 0.01, base[name].shape).astype(np.float32)}
    delta.make(tuned, tmp_path / "delta.safetensors")
    assert set(load_file(tmp_path / "delta.safetensors")) == {f"{name}.q4", f"{name}.scale"}
    error = np.abs(delta.apply(tmp_path / "delta.safetensors")[name] - tuned[name])
    assert error.max() < 0.02
    assert error.mean() < 0.002


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KEYMISS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("KEYMISS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "keymiss"


def test_each_model_has_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = slug_of(str(tmp_path))
    assert len({slug_of(DEFAULT), slug_of("some/model"), slug_of("some-model"), before}) == 4
    (tmp_path / "config.json").write_text('{"trained": "further"}')
    assert slug_of(str(tmp_path)) != before
