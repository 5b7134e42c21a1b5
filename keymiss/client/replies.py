"""What the replies to AI.* mean. Each reads what RESP2 and RESP3 give, undecoded."""

from __future__ import annotations

from typing import Any, TypedDict

from ..errors import DeadlineError
from .shards import text_of
from .tensors import Array, array_of, value_of

TIMED_OUT = "TIMEDOUT"  # answered in place of OK, not as an error


class TensorMeta(TypedDict):
    """dtype as AI.TENSORSET names it; the dimensions, none for a scalar."""

    dtype: str
    shape: list[int]


class TensorValues(TensorMeta):
    """`values` in C order."""

    values: list[int | float | str]


class ModelMeta(TypedDict):
    """A model's options; 0 where one was not given."""

    backend: str
    device: str
    tag: str
    batchsize: int
    minbatchsize: int
    inputs: list[str]
    outputs: list[str]
    minbatchtimeout: int


class Model(ModelMeta):
    """`blob` is the model's file."""

    blob: bytes


# The names are the server's, in lower case; one has a blank.
ScriptMeta = TypedDict("ScriptMeta", {"device": str, "tag": str, "entry points": list[str]})


class Script(ScriptMeta):
    """`source` as it was stored."""

    source: str


class RunInfo(TypedDict):
    """What ran at a key: `duration` in microseconds, summed; `samples` is -1 for a script."""

    key: str
    type: str
    backend: str
    device: str
    tag: str
    duration: int
    samples: int
    calls: int
    errors: int


def ok(reply: Any) -> str:
    """`OK`. DeadlineError where the time that the command was given was over before it was its turn."""
    text = text_of(reply)
    if text == TIMED_OUT:
        raise DeadlineError("its timeout passed before it could run: nothing was stored")
    return text


def plain(reply: Any) -> Any:
    """Text where the server sent bytes, through all levels."""
    if isinstance(reply, dict):
        return {plain(name): plain(value) for name, value in reply.items()}
    if isinstance(reply, (list, tuple)):
        return [plain(value) for value in reply]
    return text_of(reply) if isinstance(reply, bytes) else reply


def array(reply: Any) -> Array:
    """A tensor's META and BLOB, as an array that lies in the reply."""
    told = _pairs(reply)
    return array_of(text_of(told[b"dtype"]), told[b"shape"], told[b"blob"])


def mutable_array(reply: Any) -> Array:
    """A tensor's META and BLOB, as an array of the caller's own."""
    told = _pairs(reply)
    return array_of(text_of(told[b"dtype"]), told[b"shape"], told[b"blob"], mutable=True)


def tensor_meta(reply: Any) -> TensorMeta:
    told = _pairs(reply)
    return {"dtype": text_of(told[b"dtype"]), "shape": list(told[b"shape"])}


def tensor_values(reply: Any) -> TensorValues:
    told, meta = _pairs(reply), tensor_meta(reply)
    return {**meta, "values": [value_of(value, meta["dtype"]) for value in told[b"values"]]}


def fields(reply: Any) -> Any:
    """Names, in lower case, and values as a dict of text and numbers."""
    return {text_of(name).lower(): plain(value) for name, value in _pairs(reply).items()}


def model(reply: Any) -> Any:
    """The options of a model and its blob, which comes in chunks where it is larger than MODEL_CHUNK_SIZE."""
    told = dict(_pairs(reply))
    blob = told.pop(b"blob")
    return {**fields(told), "blob": b"".join(blob) if isinstance(blob, list) else blob}


def _pairs(reply: Any) -> dict[bytes, Any]:
    """Values by their names, from RESP2's flat array or from a map of RESP3."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
