"""What the frames of the models worker hold (docs/channel.md). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from keymiss.backends import Device, Model, backend_class
from keymiss.channel import (
    MAX_FRAME_PARTS,
    Frame,
    Part,
    Tensor,
    error_reply,
    number,
    parse_reply,
    parse_tensors,
    tensor_parts,
)
from keymiss.errors import ChannelError
from keymiss.inference.policy import Rule
from keymiss.inference.request import Outcome
from keymiss.inference.store import Identity

OK, NA = b"+OK\r\n", b"+NA\r\n"
_MODEL_FIXED_PARTS = 8  # up to its minbatchtimeout_ms
LABEL_CHARACTERS = 12  # of a digest


class Answer(NamedTuple):
    """What a DONE says: a RESP2 value, and what the job's kind adds."""

    reply: bytes
    more: tuple[Part, ...]


class ModelParts(NamedTuple):
    """A model as a frame names it."""

    path: Path
    identity: Identity
    rule: Rule
    label: str  # what people and metrics call it: its tag, else the beginning of its digest

    @classmethod
    def parse(cls, parts: Frame, at: int) -> ModelParts:
        """The model that is parts[at]. ChannelError where it is malformed, BackendError where its device is
        none."""
        if at >= len(parts):
            raise ChannelError("malformed frame: too short")
        return _parse_model(parts[at])


@lru_cache(maxsize=1024)  # every job of a model names it by the same bytes
def _parse_model(said: bytes) -> ModelParts:
    parts = parse_reply(said)
    if not isinstance(parts, list) or not all(type(part) is bytes for part in parts):
        raise ChannelError("malformed model: not an array of bulk strings")
    inputs, at = _counted(parts, _MODEL_FIXED_PARTS)
    outputs, _ = _counted(parts, at)
    path, digest, backend, device, tag = map(_text, parts[:5])
    kind = backend_class(backend)
    # Of a backend that finds the names itself the module knows them later: it is the same model.
    names = (inputs, outputs) if kind.takes_names else ((), ())
    identity = Identity(digest, kind.name, Device.parse(device), *(tuple(map(_text, some)) for some in names))
    rule = Rule(number(parts[5]), number(parts[6]), number(parts[7]) / 1000) if kind.batches else Rule()
    return ModelParts(Path(path), identity, rule, tag or digest[:LABEL_CHARACTERS])


class RunParts(NamedTuple):
    """A RUN: the model, how many outputs are expected of it, and its inputs."""

    model: ModelParts
    outputs: int
    tensors: Sequence[Tensor]

    @classmethod
    def parse(cls, parts: Frame, start: int) -> RunParts:
        """ChannelError, BackendError: see ModelParts."""
        model = ModelParts.parse(parts, start)
        (outputs,), at = _numbers(parts, start + 1, 1)
        tensors, _ = parse_tensors(parts, at)
        return cls(model, outputs, tensors)


class ScriptParts(NamedTuple):
    """A script as a frame names it."""

    digest: str
    device: Device
    source: str
    entry_points: tuple[str, ...]

    @property
    def label(self) -> str:
        """What metrics call it."""
        return f"script:{self.digest[:LABEL_CHARACTERS]}"

    @classmethod
    def parse(cls, parts: Frame, start: int) -> tuple[ScriptParts, int]:
        """The script at parts[start], and the index behind it. Errors as ModelParts."""
        entry_points, at = _counted(parts, start + 3)
        digest, device, source = map(_text, parts[start : start + 3])
        return cls(digest, Device.parse(device), source, tuple(map(_text, entry_points))), at


class Call(NamedTuple):
    """One call of a function. `list_at` is where in the inputs its list begins; -1: wherever it takes one.
    Keys and arguments are bytes: a str of TorchScript holds any."""

    function: str
    is_entry_point: bool
    outputs: int
    list_at: int
    keys: tuple[bytes, ...]
    args: tuple[bytes, ...]


@dataclass(frozen=True)
class OpParts:
    """An op of a DAG: a model, or a call of a script. `inputs` are numbers of tensors."""

    what: ModelParts | tuple[ScriptParts, Call]
    outputs: int
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class GraphParts:
    """A DAG. Tensors have numbers: those given from 0 on, then the outputs of each op in turn."""

    tensors: Sequence[Tensor]
    ops: Sequence[OpParts]
    wanted: Sequence[int]

    @classmethod
    def parse(cls, parts: Frame, start: int) -> GraphParts:
        """ChannelError where it is malformed, as an op is that needs what comes after it. BackendError: see
        ModelParts."""
        tensors, at = parse_tensors(parts, start)
        (count,), at = _numbers(parts, at, 1)
        ops: list[OpParts] = []
        known = len(tensors)
        for _ in range(count):
            op, at = _parse_op(parts, at)
            if any(not 0 <= n < known for n in op.inputs):
                raise ChannelError("malformed DAG: an op needs a tensor that is not made before it")
            if not 0 <= op.outputs <= MAX_FRAME_PARTS:
                raise ChannelError(f"malformed DAG: an op of {op.outputs} outputs")
            known += op.outputs
            ops.append(op)
        wanted, _ = _counted_numbers(parts, at)
        if any(not 0 <= n < known for n in wanted):
            raise ChannelError("malformed DAG: a tensor is wanted that nothing makes")
        return cls(tensors, ops, wanted)


def _parse_op(parts: Frame, start: int) -> tuple[OpParts, int]:
    kind = parts[start] if start < len(parts) else b""
    if kind == b"MODEL":
        model = ModelParts.parse(parts, start + 1)
        (outputs,), at = _numbers(parts, start + 2, 1)
        inputs, at = _counted_numbers(parts, at)
        return OpParts(model, outputs, inputs), at
    if kind != b"SCRIPT":
        raise ChannelError(f"malformed DAG: unknown op {kind[:32]!r}")
    script, at = ScriptParts.parse(parts, start + 1)
    if at >= len(parts):
        raise ChannelError("malformed DAG: too short")
    function = _text(parts[at])
    (outputs,), at = _numbers(parts, at + 1, 1)
    inputs, at = _counted_numbers(parts, at)
    (list_at,), at = _numbers(parts, at, 1)
    keys, at = _counted(parts, at)
    args, at = _counted(parts, at)
    call = Call(function, function in script.entry_points, outputs, list_at, tuple(keys), tuple(args))
    return OpParts((script, call), outputs, inputs), at


def _numbers(parts: Frame, start: int, count: int) -> tuple[tuple[int, ...], int]:
    """`count` numbers at parts[start], and the index behind them."""
    if start + count > len(parts):
        raise ChannelError("malformed frame: too short")
    return tuple(map(number, parts[start : start + count])), start + count


def _counted_numbers(parts: Frame, start: int) -> tuple[tuple[int, ...], int]:
    found, at = _counted(parts, start)
    return tuple(map(number, found)), at


def _counted(parts: Frame, start: int) -> tuple[Frame, int]:
    """What `<n> <part>*n` at parts[start] holds, and the index behind it."""
    if start >= len(parts) or not 0 <= (count := number(parts[start])) < len(parts) - start:
        raise ChannelError("malformed frame: fewer elements than announced")
    end = start + 1 + count
    return parts[start + 1 : end], end


def ran_all(outcomes: Sequence[Outcome | None], wanted: Sequence[Tensor | None]) -> Answer:
    """What DONE of a DAG says: of each op what became of it, None where it lacked an input; and the wanted
    tensors, None for one that was never made."""
    ops = [part for outcome in outcomes for part in (_op(outcome) if outcome else (NA, 0, 0, 0, 0))]
    tensors = [part for tensor in wanted for part in (tensor.parts() if tensor else (b"", b"", b""))]
    return Answer(OK, (len(outcomes), *ops, len(wanted), *tensors))


def ran_nothing(error: str) -> Answer:
    """DONE of a DAG that was not begun. `error`: code first."""
    return Answer(error_reply(error), (0, 0))


def loaded(model: Model) -> Answer:
    """What DONE of a LOAD says."""
    return Answer(OK, (len(model.inputs), *model.inputs, len(model.outputs), *model.outputs))


def not_loaded(error: str) -> Answer:
    return Answer(error_reply(f"ERR {error}"), (0, 0))


def ran(outcome: Outcome) -> Answer:
    """What DONE of a RUN says."""
    reply, *counters = _op(outcome)
    return Answer(reply, (*counters, *tensor_parts(outcome.outputs)))


def _op(outcome: Outcome) -> tuple[bytes, int, int, int, int]:
    """`<reply> <duration_us> <calls> <samples> <errors>`"""
    reply = OK if outcome.error is None else error_reply(outcome.error)
    return reply, outcome.duration_us, outcome.calls, outcome.samples, outcome.errors


def _text(part: bytes) -> str:
    return part.decode("utf-8", "surrogateescape")
