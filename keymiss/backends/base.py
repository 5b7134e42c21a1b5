"""What a backend is: it loads a model from a file and runs batches of tensors through it.

Tensors are NumPy arrays here, in C order: float32, float64, int8 to int64, uint8, uint16, bool, and object
arrays of `bytes` for STRING. A backend may write into the arrays it is given; those it returns are its
caller's.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from keymiss.errors import BackendError, ModelError

Array: TypeAlias = npt.NDArray[Any]

# What a numeric tensor key can hold.
ARRAY_DTYPES = tuple(
    map(np.dtype, ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "bool"))
)

# Tokens: CPUs multiply tiles of 16 rows in bf16 and fp16. On AMX, MiniLM took 15 to 40 % longer for a token
# of sequences of 56, 72 or 88 than of 48, 64, 80 or 96 (OpenVINO; PyTorch 15 %); in fp32 no longer.
HALF_PRECISION_STEP = 16

_DEVICE = re.compile(r"(CPU|GPU)(?::([0-9]{1,4}))?", re.IGNORECASE)


class Device(NamedTuple):
    """Where a model runs: `kind` is CPU or GPU, `number` that of the GPU, 0 where none was given. CPU:1 is
    the same processor as CPU with a queue of its own, so that models on both run side by side."""

    kind: str
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> Device:
        """CPU, CPU:n, GPU or GPU:n in any case. BackendError for anything else."""
        match = _DEVICE.fullmatch(text)
        if match is None:
            raise BackendError(f"Invalid DEVICE {text!r}: CPU, CPU:<n>, GPU or GPU:<n> is known here")
        return cls(match[1].upper(), int(match[2] or 0))

    def __str__(self) -> str:
        return "CPU" if self == ("CPU", 0) else f"{self.kind}:{self.number}"


class Model(ABC):
    """A loaded model. `run` is called from one thread at a time for each device, unless it
    `shares_device`."""

    inputs: tuple[str, ...]  # names in the order in which tensors are given
    outputs: tuple[str, ...]  # names in the order in which tensors come back; "" where the backend has none
    weight_bytes: int  # size of its weights
    mapped_bytes: int  # how much of that is the file's own pages, shared with whoever else maps it

    may_grow: bool = True  # there is memory for a second form of it

    @property
    def resident_bytes(self) -> int:
        """What its weights take in all the forms that it has now."""
        return self.weight_bytes

    shares_device: bool = False  # passes on several threads at once are right, and gain from it

    is_straight: bool = False  # it has no loops: how long a pass takes follows from the shapes of its inputs

    threads_sleep: bool = False  # those of a pass sleep, where one has to wait for another

    length_step: int = 1  # sequences are best filled up to multiples of it: others cost extra

    def take_threads(self, threads: int) -> None:  # noqa: B027  # most have nothing to do
        """Passes that the calling thread runs are to use so many cores from now on."""

    can_let_go: bool = False  # its weights are mapped, and nothing of them was changed

    def let_go(self) -> None:
        """Where it can: give back the memory of its weights. The next pass has them again, from the file."""
        raise NotImplementedError

    @abstractmethod
    def run(self, tensors: Sequence[Array]) -> list[Array]:
        """One forward pass over len(inputs) tensors, giving len(outputs) tensors. ModelError where it
        fails."""

    runs_each: bool = False  # several passes at one call cost less than as many calls

    def run_each(self, tensors: Sequence[Array]) -> list[Array]:
        """Where it does: as many passes as the tensors' first axis is long, each over its part of all of
        them; the outputs have such an axis too. ModelError where one fails or their outputs differ in
        shape: none has run then, as far as anybody can tell."""
        raise NotImplementedError


def object_array(values: Sequence[object], shape: tuple[int, ...]) -> Array:
    """Strings, in C order, as an array."""
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


class TensorInfo(NamedTuple):
    """What a model says about one of its inputs or outputs."""

    name: str
    dtype: (
        Any  # a NumPy dtype, of ARRAY_DTYPES, that of objects for STRING, or one that no tensor key can hold
    )
    shape: tuple[int | None, ...] | None = None  # None where any will do

    def check(self, tensor: Array) -> None:
        """ModelError where the model does not take `tensor` as this input."""
        if tensor.dtype != self.dtype:
            takes, is_ = (_dtype_name(dtype) for dtype in (self.dtype, tensor.dtype))
            raise ModelError(f"input {self.name!r} of the model takes {takes}, and the tensor is {is_}")
        if self.shape is not None and (
            tensor.ndim != len(self.shape)
            or any(want not in (None, have) for want, have in zip(self.shape, tensor.shape, strict=True))
        ):
            takes, is_ = map(_shape_text, (self.shape, tensor.shape))
            raise ModelError(
                f"input {self.name!r} of the model takes the shape {takes}, and the tensor has {is_}"
            )


def check_inputs(infos: Sequence[TensorInfo], tensors: Sequence[Array]) -> None:
    """ModelError where the model does not take one of the tensors."""
    for info, tensor in zip(infos, tensors, strict=True):
        info.check(tensor)


def require_dtypes(inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> None:
    """BackendError where a tensor key cannot hold one of them."""
    for side, some in (("input", inputs), ("output", outputs)):
        for position, info in enumerate(some):
            if info.dtype != np.dtype(object) and info.dtype not in ARRAY_DTYPES:
                raise unsupported(side, position, info.dtype)


def as_array(result: Any) -> Array:
    """What TensorFlow gives for a tensor: a NumPy scalar, or bytes, for one of no dimension."""
    return object_array([result], ()) if isinstance(result, bytes) else np.asarray(result, order="C")


def unsupported(side: str, position: int, dtype: object, of: str = "model") -> ModelError:
    """The error for an input or output that no tensor key can hold."""
    return ModelError(
        f"{side} {position + 1} of the {of} is {dtype}, which no tensor key can hold; "
        f"convert it to one of {', '.join(map(str, ARRAY_DTYPES))}"
    )


def one_line(message: object) -> str:
    """An error, or its text, in one line."""
    return " ".join(str(message).split()) or type(message).__name__


def _dtype_name(dtype: object) -> str:
    return "strings" if dtype == np.dtype(object) else str(dtype)


def _shape_text(shape: Sequence[int | None]) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"


class Backend(ABC):
    """A way to run models. An instance stands for the backend in one process; `load` may be called from
    several threads."""

    name: ClassVar[str]  # as in AI.MODELSTORE
    library: ClassVar[str]  # what `import` needs
    install: ClassVar[str]  # the command that installs it
    takes_names: ClassVar[bool]  # its models have to be told which of their tensors go in and out
    batches: ClassVar[bool]  # tensors of several requests may be joined along dimension 0
    maps_weights: ClassVar[bool]  # weights stay in the file's own pages

    @abstractmethod
    def __init__(self, threads: int) -> None:
        """Import the library and let it use `threads` threads. ImportError where it is not installed."""

    @abstractmethod
    def devices(self) -> tuple[Device, ...]:
        """The devices that this process can use."""

    @abstractmethod
    def load(self, path: Path, device: Device, inputs: Sequence[str], outputs: Sequence[str]) -> Model:
        """Load the model in the file `path`, which does not change while the model lives. `inputs` and
        `outputs` are the names given to AI.MODELSTORE, empty for a backend that reads them from the model.
        BackendError where the file is no model of this backend or the device is not there."""

    def require(self, device: Device) -> None:
        """BackendError unless `device` is one of ours."""
        if (Device("CPU") if device.kind == "CPU" else device) not in self.devices():
            have = ", ".join(map(str, self.devices()))
            raise BackendError(f"{device} requested but the {self.name} backend finds only {have} here")
