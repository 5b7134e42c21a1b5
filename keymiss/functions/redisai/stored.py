"""What is known of the models and scripts that keys hold.

Asked for again when it is older than a second: a coroutine on a miss would otherwise wait for the server once
more than it has to. A run always sees what the key holds then; but for that second, a model that took the
place of one with the same names in another order gets its tensors in the old order.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Any

from keymiss.functions import context

KNOWN_S = 1.0
MAX_KNOWN = 1000


@dataclass(frozen=True)
class StoredModel:
    """Names of inputs and outputs, where it was stored with any; else its tensors go by position."""

    inputs: list[str]
    outputs: list[str]


@dataclass(frozen=True)
class StoredScript:
    """`takes_lists`: it was stored with entry points, each of which takes (tensors, keys, args).

    Else every function of it can be run, and takes its tensors one by one.
    """

    takes_lists: bool


_models: dict[bytes, tuple[StoredModel, float]] = {}  # and the time until when
_scripts: dict[bytes, tuple[StoredScript, float]] = {}


def model_at(key: bytes) -> StoredModel:
    """GearsError with the server's words where there is none."""
    known = _models.get(key)
    if known is None or monotonic() >= known[1]:
        meta = _meta("AI.MODELGET", key)
        known = StoredModel(meta.get("inputs") or [], meta.get("outputs") or []), monotonic() + KNOWN_S
        _remember(_models, key, known)
    return known[0]


def script_at(key: bytes) -> StoredScript:
    """GearsError with the server's words where there is none."""
    known = _scripts.get(key)
    if known is None or monotonic() >= known[1]:
        meta = _meta("AI.SCRIPTGET", key)
        known = StoredScript(bool(meta.get("Entry Points"))), monotonic() + KNOWN_S
        _remember(_scripts, key, known)
    return known[0]


def _meta(command: str, key: bytes) -> dict[str, Any]:
    fields = context.shard().execute(command, key, "META")
    return dict(zip(fields[::2], fields[1::2], strict=False))


def _remember(known: dict[bytes, Any], key: bytes, value: object) -> None:
    if len(known) >= MAX_KNOWN:
        known.clear()
    known[key] = value
