"""What LOAD, RUN and UNLOAD frames hold (docs/channel.md, "Models worker"). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from keymiss.backends import Device, Model, backend_class
from keymiss.channel import Frame, Part, Tensor, number, parse_tensors, tensor_parts
from keymiss.errors import ChannelError
from keymiss.inference.batcher import Outcome
from keymiss.inference.policy import Rule
from keymiss.inference.store import Identity

OK = b"+OK\r\n"
_MODEL_FIXED_PARTS = (
    8  # <path> <digest> <backend> <device> <tag> <batchsize> <minbatchsize> <minbatchtimeout_ms>
)


class Answer(NamedTuple):
    """What a DONE says: a RESP2 value, and what the job's kind adds."""

    reply: bytes
    more: tuple[Part, ...]


class ModelParts(NamedTuple):
    """A model as a frame names it."""

    path: Path
    identity: Identity
    rule: Rule

    @classmethod
    def parse(cls, parts: Frame, start: int) -> tuple[ModelParts, int]:
        """The model at parts[start], and the index behind it. ChannelError where it is malformed,
        BackendError where its device is none."""
        end = _skip_names(parts, _skip_names(parts, start + _MODEL_FIXED_PARTS))
        return _parse_model(tuple(parts[start:end])), end


@lru_cache(maxsize=1024)  # every job of a model names it by the same bytes
def _parse_model(parts: tuple[bytes, ...]) -> ModelParts:
    path, digest, backend, device, _tag, _, _, _, count, *names = map(_text, parts)
    inputs, outputs = tuple(names[: int(count)]), tuple(names[int(count) + 1 :])
    kind = backend_class(backend)
    if not kind.takes_names:  # a frame names them once the module knows them; the model is the same
        inputs = outputs = ()
    identity = Identity(digest, kind.name, Device.parse(device), inputs, outputs)
    rule = Rule(number(parts[5]), number(parts[6]), number(parts[7]) / 1000) if kind.batches else Rule()
    return ModelParts(Path(path), identity, rule)


@dataclass(frozen=True)
class RunParts:
    """A RUN: the model, how many outputs are expected of it, and its inputs."""

    model: ModelParts
    outputs: int
    tensors: Sequence[Tensor]

    @classmethod
    def parse(cls, parts: Frame, start: int) -> RunParts:
        """ChannelError, BackendError: see ModelParts."""
        model, at = ModelParts.parse(parts, start)
        if at >= len(parts):
            raise ChannelError("malformed RUN: too short")
        tensors, _ = parse_tensors(parts, at + 1)
        return cls(model, number(parts[at]), tensors)


def loaded(model: Model) -> Answer:
    """What DONE of a LOAD says."""
    return Answer(OK, (len(model.inputs), *model.inputs, len(model.outputs), *model.outputs))


def not_loaded(error: str) -> Answer:
    return Answer(error_reply(f"ERR {error}"), (0, 0))


def ran(outcome: Outcome) -> Answer:
    """What DONE of a RUN says."""
    reply = OK if outcome.error is None else error_reply(outcome.error)
    counters = (outcome.duration_us, outcome.calls, outcome.samples, outcome.errors)
    return Answer(reply, (*counters, *tensor_parts(outcome.outputs)))


def error_reply(error: str) -> bytes:
    """A RESP error in one line."""
    return b"-%b\r\n" % " ".join(error.split()).encode("utf-8", "replace")


def _skip_names(parts: Frame, start: int) -> int:
    """The index behind `<n> <name>*n` at parts[start]."""
    if start >= len(parts) or not 0 <= (count := number(parts[start])) < len(parts) - start:
        raise ChannelError("malformed model in a frame: names are missing")
    return start + 1 + count


def _text(part: bytes) -> str:
    return part.decode("utf-8", "surrogateescape")
