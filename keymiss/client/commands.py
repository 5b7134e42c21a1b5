"""The commands of AI.*, built: what is sent, where to, and what the reply means.

Nothing here talks to a server, so that the clients of `ai.py`, synchronous and asyncio, share it. The
parameters are those of redisai 1.3.0, and so are the results. Keys are str or bytes. All raise
redis.ResponseError with what the server said, and TensorError (a ValueError) for what no tensor can hold.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from numbers import Number
from typing import Any, Generic, Literal, TypeVar, overload

from numpy.typing import ArrayLike, DTypeLike

from . import replies
from .replies import Model, ModelMeta, RunInfo, Script, ScriptMeta, TensorMeta, TensorValues
from .tensors import Array, tensor_arguments

Key = str | bytes
Keys = Key | Sequence[Key]
T = TypeVar("T")

# MODEL_CHUNK_SIZE as it comes: an argument can be 512 MiB (proto-max-bulk-len).
CHUNK_SIZE = 511 * 1024 * 1024


class Where(Enum):
    """Where a command goes in a cluster."""

    KEY = auto()  # the shard of its key, where redis-py finds that by itself
    # The shard of its key, which redis-py would ask the server for, sending it all arguments.
    TOLD_KEY = auto()
    SHARDS = auto()  # every shard; the answers are joined
    NODES = auto()  # every node, replicas too
    SHARD = auto()  # any shard, or the node that the command names
    ANY = auto()  # any node


@dataclass(eq=False, slots=True)
class Command(Generic[T]):
    """A command to send. `parse` makes its result of the reply, `join` one result of several nodes'."""

    args: tuple[Any, ...]
    parse: Callable[[Any], T]
    where: Where = Where.KEY
    routing: Key | None = None  # where the command's first argument is not the key whose shard it goes to
    join: Callable[[list[T]], T] = lambda results: results[0]
    node: Any = None  # of redis-py's cluster client
    once: bool = False  # not to be sent again because it takes long: what it runs may write

    @property
    def name(self) -> str:
        return str(self.args[0])

    @property
    def key(self) -> Any:
        """The key whose shard it goes to, of a command that goes to one."""
        return self.args[1] if self.routing is None else self.routing


# Tensors


def tensorset(
    key: Key, tensor: ArrayLike, shape: Sequence[int] | None = None, dtype: DTypeLike | None = None
) -> Command[str]:
    """Store a tensor: an array, or what numpy makes one of, converted to `dtype` and `shape` where told.

    dtypes: float32, float64, int8 to int64, uint8, uint16, bool; str, bytes and object arrays become STRING.
    The data is not copied: in a pipeline the array must stay as it is until `execute()`.
    """
    return Command(("AI.TENSORSET", key, *tensor_arguments(tensor, shape, dtype)), replies.ok)


@overload
def tensorget(
    key: Key,
    as_numpy: Literal[True] = True,
    as_numpy_mutable: bool = False,
    meta_only: Literal[False] = False,
) -> Command[Array]: ...
@overload
def tensorget(
    key: Key,
    as_numpy: Literal[False],
    as_numpy_mutable: bool = False,
    meta_only: Literal[False] = False,
) -> Command[TensorValues]: ...
@overload
def tensorget(
    key: Key, as_numpy: bool = True, as_numpy_mutable: bool = False, *, meta_only: Literal[True]
) -> Command[TensorMeta]: ...
def tensorget(
    key: Key, as_numpy: bool = True, as_numpy_mutable: bool = False, meta_only: bool = False
) -> Command[Any]:
    """The tensor as a numpy array of its shape and dtype. It lies in the bytes of the reply and is read-only,
    unless `as_numpy_mutable`. STRING gives an array of str.

    With `meta_only`, {"dtype": "FLOAT", "shape": [2, 3]} without the data; with `as_numpy=False` the same and
    its "values", in C order.
    """
    if meta_only:
        return Command(("AI.TENSORGET", key, "META"), replies.tensor_meta)
    if not as_numpy:
        return Command(("AI.TENSORGET", key, "META", "VALUES"), replies.tensor_values)
    parse = replies.mutable_array if as_numpy_mutable else replies.array
    return Command(("AI.TENSORGET", key, "META", "BLOB"), parse)


# Models


def modelstore(
    key: Key,
    backend: str,
    device: str,
    data: bytes | bytearray | memoryview,
    batch: int | None = None,
    minbatch: int | None = None,
    minbatchtimeout: int | None = None,
    tag: str | bytes | None = None,
    inputs: Keys | None = None,
    outputs: Keys | None = None,
    chunk_size: int = CHUNK_SIZE,
) -> Command[str]:
    """Store a model: the bytes of its file, for a backend (TORCH, ONNX, TF, TFLITE, OPENVINO) and a device
    (CPU, GPU, GPU:1).

    Requests that arrive together run together, up to `batch` samples, waiting `minbatchtimeout` milliseconds
    at most for `minbatch`. `inputs` and `outputs` name the nodes of a TF graph. What is larger than
    `chunk_size` bytes is sent in pieces of that size.
    """
    told = options(TAG=tag, BATCHSIZE=batch, MINBATCHSIZE=minbatch, MINBATCHTIMEOUT=minbatchtimeout)
    told += counted(INPUTS=inputs, OUTPUTS=outputs)
    args = ("AI.MODELSTORE", key, backend, device, *told, "BLOB", *_chunks(data, chunk_size))
    return Command(args, replies.ok)


def modelset(
    key: Key,
    backend: str,
    device: str,
    data: bytes | bytearray | memoryview,
    batch: int | None = None,
    minbatch: int | None = None,
    tag: str | bytes | None = None,
    inputs: Keys | None = None,
    outputs: Keys | None = None,
    chunk_size: int = CHUNK_SIZE,
) -> Command[str]:
    """Deprecated: as `modelstore`."""
    deprecated("modelset", "modelstore")
    told = options(TAG=tag, BATCHSIZE=batch, MINBATCHSIZE=minbatch)
    for name, given in (("INPUTS", inputs), ("OUTPUTS", outputs)):
        told += (name, *listed(given)) if given is not None else ()
    args = ("AI.MODELSET", key, backend, device, *told, "BLOB", *_chunks(data, chunk_size))
    return Command(args, replies.ok)


@overload
def modelget(key: Key, meta_only: Literal[False] = False) -> Command[Model]: ...
@overload
def modelget(key: Key, meta_only: Literal[True]) -> Command[ModelMeta]: ...
def modelget(key: Key, meta_only: bool = False) -> Command[Any]:
    """The model's options, as a dict; its bytes too, as "blob", unless `meta_only`."""
    if meta_only:
        return Command(("AI.MODELGET", key, "META"), replies.fields)
    return Command(("AI.MODELGET", key, "META", "BLOB"), replies.model)


def modeldel(key: Key) -> Command[str]:
    """Delete a model."""
    return Command(("AI.MODELDEL", key), replies.ok)


def modelexecute(key: Key, inputs: Keys, outputs: Keys, timeout: int | None = None) -> Command[str]:
    """Run a model on the tensors at `inputs` and store what it gives at `outputs`, as many as it has.

    DeadlineError where `timeout` milliseconds passed before it was its turn to run.
    """
    args = ("AI.MODELEXECUTE", key, *counted(INPUTS=inputs, OUTPUTS=outputs), *options(TIMEOUT=timeout))
    return Command(args, replies.ok, Where.TOLD_KEY)


def modelrun(key: Key, inputs: Keys, outputs: Keys) -> Command[str]:
    """Deprecated: as `modelexecute`."""
    deprecated("modelrun", "modelexecute")
    args = ("AI.MODELRUN", key, "INPUTS", *listed(inputs), "OUTPUTS", *listed(outputs))
    return Command(args, replies.ok, Where.TOLD_KEY)


def modelscan() -> Command[list[list[str]]]:
    """The key and the tag of every model; of all shards, in a cluster."""
    return Command(("AI._MODELSCAN",), replies.plain, Where.SHARDS, join=_concatenated)


# Scripts


def scriptstore(
    key: Key, device: str, script: str, entry_points: str | Sequence[str], tag: str | bytes | None = None
) -> Command[str]:
    """Store a TorchScript source. `entry_points` are the functions that `scriptexecute` may call, each
    `def name(tensors: List[Tensor], keys: List[str], args: List[str])`; others may be helpers."""
    args = ("AI.SCRIPTSTORE", key, device, *options(TAG=tag), *counted(ENTRY_POINTS=entry_points))
    return Command((*args, "SOURCE", script), replies.ok)


def scriptset(key: Key, device: str, script: str, tag: str | bytes | None = None) -> Command[str]:
    """Deprecated: as `scriptstore`, for functions of any signature, that `scriptrun` calls."""
    deprecated("scriptset", "scriptstore")
    return Command(("AI.SCRIPTSET", key, device, *options(TAG=tag), "SOURCE", script), replies.ok)


@overload
def scriptget(key: Key, meta_only: Literal[False] = False) -> Command[Script]: ...
@overload
def scriptget(key: Key, meta_only: Literal[True]) -> Command[ScriptMeta]: ...
def scriptget(key: Key, meta_only: bool = False) -> Command[Any]:
    """The script's device, tag and entry points, as a dict; its "source" too, unless `meta_only`."""
    return Command(("AI.SCRIPTGET", key, "META", *(() if meta_only else ("SOURCE",))), replies.fields)


def scriptdel(key: Key) -> Command[str]:
    """Delete a script."""
    return Command(("AI.SCRIPTDEL", key), replies.ok)


def scriptexecute(
    key: Key,
    function: str,
    keys: Keys | None = None,
    inputs: Keys | None = None,
    args: Any = None,
    outputs: Keys | None = None,
    timeout: int | None = None,
) -> Command[str]:
    """Call an entry point of a script with the tensors at `inputs`; what it returns is stored at `outputs`.

    `keys` are those that it will use itself; `args`, strings or numbers, one or several, it gets as strings.
    DeadlineError where `timeout` milliseconds passed before it was its turn to run.
    """
    texts = (
        None if args is None else [arg if isinstance(arg, (str, bytes)) else str(arg) for arg in listed(args)]
    )
    told = counted(KEYS=keys, INPUTS=inputs, ARGS=texts, OUTPUTS=outputs) + options(TIMEOUT=timeout)
    return Command(("AI.SCRIPTEXECUTE", key, function, *told), replies.ok, Where.TOLD_KEY, once=True)


def scriptrun(key: Key, function: str, inputs: Keys, outputs: Keys) -> Command[str]:
    """Deprecated: as `scriptexecute`. A "$" among the inputs begins a list of tensors."""
    deprecated("scriptrun", "scriptexecute")
    args = ("AI.SCRIPTRUN", key, function, "INPUTS", *listed(inputs), "OUTPUTS", *listed(outputs))
    return Command(args, replies.ok, Where.TOLD_KEY, once=True)


def scriptscan() -> Command[list[list[str]]]:
    """The key and the tag of every script; of all shards, in a cluster."""
    return Command(("AI._SCRIPTSCAN",), replies.plain, Where.SHARDS, join=_concatenated)


# The module


def info() -> Command[dict[str, Any]]:
    """Which versions the server says that it has."""
    return Command(("AI.INFO",), replies.fields, Where.ANY)


def infoget(key: Key) -> Command[RunInfo]:
    """How often the model or script at `key` ran, how long, with how many errors."""
    return Command(("AI.INFO", key), replies.fields)


def inforeset(key: Key) -> Command[str]:
    """Count from nothing again at `key`."""
    return Command(("AI.INFO", key, "RESETSTAT"), replies.ok)


@overload
def config(name: str, value: None = None) -> Command[str | int | None]: ...
@overload
def config(name: str, value: str | int) -> Command[str]: ...
def config(name: str, value: str | int | None = None) -> Command[Any]:
    """A setting (MODEL_CHUNK_SIZE, BACKENDSPATH): its value, None where there is no such setting.

    Where `value` is given it is set, on all nodes of a cluster.
    """
    if value is None:
        return Command(("AI.CONFIG", "GET", name), replies.plain, Where.ANY)
    return Command(("AI.CONFIG", name, value), replies.ok, Where.NODES)


def loadbackend(identifier: str, path: str) -> Command[str]:
    """Load a backend (TORCH, ONNX ...) now and not when a model first needs it; on all nodes of a cluster."""
    return Command(("AI.CONFIG", "LOADBACKEND", identifier, path), replies.ok, Where.NODES)


# Arguments


def listed(given: Any) -> tuple[Any, ...]:
    """One, several or None, as several."""
    if isinstance(given, (list, tuple)):
        return tuple(given)
    if given is None:
        return ()
    return (given,) if isinstance(given, (str, bytes, Number)) else tuple(given)


def options(**named: object) -> tuple[Any, ...]:
    """`NAME value` of those that are given."""
    return tuple(part for name, value in named.items() if value is not None for part in (name, value))


def counted(**lists: Any) -> tuple[Any, ...]:
    """`NAME count item...` of those that are given."""
    parts: tuple[Any, ...] = ()
    for name, given in lists.items():
        if given is not None:
            items = listed(given)
            parts += (name, len(items), *items)
    return parts


def _chunks(data: bytes | bytearray | memoryview, size: int) -> Iterable[memoryview]:
    """Pieces of at most `size` bytes, none of them copied; one where there are no bytes."""
    if size < 1:
        raise ValueError(f"chunk_size must be at least 1 byte, not {size}")
    whole = memoryview(data).cast("B")
    return [whole[at : at + size] for at in range(0, len(whole), size)] or [whole]


def _concatenated(lists: list[list[T]]) -> list[T]:
    return [item for each in lists for item in each]


def deprecated(name: str, instead: str, stacklevel: int = 4) -> None:
    """Warn whoever called the method that built the command: three frames up, or `stacklevel` less one."""
    text = f"{name} is deprecated since RedisAI 1.2: use {instead}"
    warnings.warn(text, DeprecationWarning, stacklevel=stacklevel)
