"""TORCH: TorchScript archives, run by PyTorch.

Nothing here unpickles Python. `torch.jit.load` reads an archive with a reader of its own that knows
tensors, numbers and containers; a checkpoint of `torch.save` is refused before it is opened.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from keymiss.backends.archive import MappedWeights, check_archive, map_weights
from keymiss.backends.base import (
    ARRAY_DTYPES,
    HALF_PRECISION_STEP,
    Array,
    Backend,
    Device,
    Model,
    unsupported,
)
from keymiss.backends.torch_state import changes_itself
from keymiss.errors import BackendError, ModelError

_EACH = "_keymiss_each"  # the method that is added to a module
_MOSTLY = 0.9  # of the weights: the rest is smaller than a page each
_thread = threading.local()  # .threads: how many it computes with

_DTYPES = frozenset(ARRAY_DTYPES)
_DTYPE_NAMES = frozenset(dtype.name for dtype in ARRAY_DTYPES)  # torch has the names of NumPy


class TorchBackend(Backend):
    name: ClassVar[str] = "TORCH"
    library: ClassVar[str] = "torch"
    install: ClassVar[str] = "pip install 'keymiss[torch]'"
    takes_names: ClassVar[bool] = False
    batches: ClassVar[bool] = True
    maps_weights: ClassVar[bool] = True

    def __init__(self, threads: int) -> None:
        import torch

        self.torch: Any = torch
        torch.set_num_threads(threads)

    def devices(self) -> tuple[Device, ...]:
        gpus = self.torch.cuda.device_count() if self.torch.cuda.is_available() else 0
        return (Device("CPU"), *(Device("GPU", n) for n in range(gpus)))

    def target(self, device: Device) -> Any:
        """The device as torch names it."""
        return self.torch.device("cpu" if device.kind == "CPU" else f"cuda:{device.number}")

    def load(self, path: Path, device: Device, inputs: Sequence[str], outputs: Sequence[str]) -> Model:
        self.require(device)
        check_archive(self.torch, path)
        target = self.target(device)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is what the blobs are
                module = self.torch.jit.load(str(path), map_location=target)
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"the blob is no TorchScript model: {useful(error)}") from None
        return TorchModel(self.torch, module.eval(), target, path)


class TorchModel(Model):
    """A TorchScript module whose `forward` takes tensors and returns a tensor or a tuple of tensors."""

    def __init__(self, torch: Any, module: Any, device: Any, path: Path) -> None:
        if not hasattr(module, "forward"):
            raise BackendError("the TorchScript module has no forward method")
        schema = module.forward.schema
        self._torch, self._device, self._on_cpu = torch, device, device.type == "cpu"
        self._module = module
        self.threads_sleep = self._on_cpu  # OpenMP's do, having spun briefly
        self._from_numpy, self._is_grad_enabled = torch.from_numpy, torch.is_grad_enabled
        # A call of the module itself would look for hooks, which an archive has not.
        self._forward = module.forward
        self.inputs = tuple(argument.name for argument in schema.arguments[1:])
        returns = schema.returns[0].type
        self.outputs = ("",) * _count_outputs(returns)
        weights = {t.untyped_storage().data_ptr(): t for t in (*module.parameters(), *module.buffers())}
        self.weight_bytes = sum(t.untyped_storage().nbytes() for t in weights.values())
        self._mapped = map_weights(torch, module, path) if self._on_cpu else MappedWeights(0, None)
        self.mapped_bytes = self._mapped.bytes
        if self._on_cpu and any(
            tensor.dtype in (torch.bfloat16, torch.float16) for tensor in weights.values()
        ):
            self.length_step = HALF_PRECISION_STEP
        graph = module.inlined_graph
        self.shares_device = self._on_cpu and not changes_itself(graph)
        self.is_straight = "prim::Loop" not in str(graph)
        self.can_let_go = self.shares_device and self.mapped_bytes >= _MOSTLY * self.weight_bytes > 0
        parts = returns.elements() if returns.kind() == "TupleType" else [returns]
        self.runs_each = (
            self.shares_device
            and bool(self.inputs and parts)
            and all(kind.kind() == "TensorType" for kind in (*(a.type for a in schema.arguments[1:]), *parts))
        )
        self._each_source = _source_of_each(len(self.inputs), len(parts), returns.kind() == "TupleType")
        self._each: Any = None  # compiled when it is first called

    def let_go(self) -> None:
        self._mapped.let_go()

    def take_threads(self, threads: int) -> None:
        take_threads(self._torch, threads)

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        return self._call(self._forward, tensors)

    def run_each(self, tensors: Sequence[Array]) -> list[Array]:
        if self._each is None:
            self._each = _defined(self._torch, self._module, self._each_source)
        # Operators have less to do in it. What needs gradients fails, and is run by itself.
        with self._torch.inference_mode():
            return self._call(self._each, tensors)

    def _call(self, method: Any, tensors: Sequence[Array]) -> list[Array]:
        torch = self._torch
        if self._is_grad_enabled():  # on a new thread: to ask costs less than to enter and leave
            torch.set_grad_enabled(False)
        try:
            given = list(map(self._from_numpy, tensors))
        except TypeError:
            raise ModelError("the TORCH backend takes no STRING tensors") from None
        if not self._on_cpu:
            given = [tensor.to(self._device) for tensor in given]
        try:
            result = method(*given)
        except (RuntimeError, torch.jit.Error) as error:
            raise ModelError(f"the model failed: {useful(error)}") from None
        results = result if type(result) is tuple else (result,)
        return [array_of(value, "output", n) for n, value in enumerate(results)]


def _defined(torch: Any, module: Any, source: str) -> Any:
    """A method, compiled in the scope of this function: `torch` is of it."""
    module.define(source)
    return getattr(module, _EACH)


def _source_of_each(inputs: int, outputs: int, is_tuple: bool) -> str:
    """A method of a module that calls its forward for each part of its inputs along their first axis.

    `while` and not `for`: the compiler unrolls the latter, and joins products of several passes, whose
    results may then differ in the last bit from those of a pass alone."""
    names = [f"x{n}" for n in range(inputs)]
    given, taken = (", ".join(f"{name}{form}" for name in names) for form in (": Tensor", "[at]"))
    lists = [f"y{n}" for n in range(outputs)]
    lines = [
        f"def {_EACH}(self, {given}):",
        *(f"    {name}: List[Tensor] = []" for name in lists),
        "    at = 0",
        "    while at < x0.size(0):",
        f"        y = self.forward({taken})",
        *(f"        {name}.append(y{f'[{n}]' if is_tuple else ''})" for n, name in enumerate(lists)),
        "        at += 1",
        f"    return {', '.join(f'torch.stack({name})' for name in lists)}",
    ]
    return "\n".join(lines) + "\n"


def take_threads(torch: Any, threads: int) -> None:
    """What the calling thread computes is to use so many cores from now on."""
    if getattr(_thread, "threads", 0) != threads:
        torch.set_num_threads(threads)  # of this thread, and of those that have computed nothing yet
        _thread.threads = threads


def array_of(tensor: Any, side: str, position: int, of: str = "model") -> Array:
    """The values of a tensor of torch, which is the output or input `position` (`side`) of a model or script
    (`of`). ModelError where no tensor key can hold them, or it is none."""
    try:
        array: Array = tensor.numpy()  # refuses what is not dense, on the CPU and free of gradients
    except AttributeError:
        raise ModelError(
            f"{side} {position + 1} of the {of} is a {type(tensor).__name__}, not a tensor"
        ) from None
    except (TypeError, RuntimeError):
        if _name_of(tensor.layout) != "strided":
            raise unsupported(side, position, f"a sparse tensor ({tensor.layout})", of) from None
        if _name_of(tensor.dtype) not in _DTYPE_NAMES:
            raise unsupported(side, position, _name_of(tensor.dtype), of) from None
        array = tensor.numpy(force=True)  # from whatever device, its values as they are
    if array.dtype not in _DTYPES:
        raise unsupported(side, position, array.dtype, of)
    return array if array.flags.c_contiguous else array.copy()


@cache
def _name_of(what: Any) -> str:
    """A dtype or layout without `torch.`."""
    return str(what).removeprefix("torch.")


def _count_outputs(kind: Any) -> int:
    """How many tensors a forward returns by its declared type: none for a type that holds no tensor known
    by position."""
    if kind.kind() == "TensorType":
        return 1
    if kind.kind() == "TupleType":
        return len(kind.elements())
    if kind.kind() == "ListType":
        raise BackendError(
            f"the model returns {kind.annotation_str}, whose length is not known; "
            "return a tensor or a tuple of tensors"
        )
    return 0


def useful(error: Exception) -> str:
    """The one line of torch's message that says what was wrong: the last of a TorchScript traceback, else
    the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    line = lines[-1] if "TorchScript interpreter" in lines[0] else lines[0]
    return (
        line.split(" This is an internal miniz error")[0]
        .removeprefix("builtins.")
        .removeprefix("RuntimeError: ")
    )
