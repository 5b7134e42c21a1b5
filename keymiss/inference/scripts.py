"""Scripts: TorchScript sources, compiled once and kept; and one call of a function of theirs.

A function named among the entry points takes (tensors, keys, args). Any other is called the old way: its
tensors by position, where a List[Tensor] takes the rest of them.

The errors that begin without a code are those that clients have always seen.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

from keymiss.backends import Array, Backends, Device, Model
from keymiss.backends.torch import TorchBackend, array_of, take_threads, useful
from keymiss.errors import BackendError, KeymissError, ScriptError
from keymiss.inference.dialect import MAX_QUOTED, check_compiled, check_source, names
from keymiss.inference.frames import Call, ScriptParts
from keymiss.inference.loops import ask_to_stop, new_stop, stop_type, stoppable
from keymiss.inference.operators import Host, namespaces, serving

KEPT_SCRIPTS = 256
_SIGNATURE = ["List[Tensor]", "List[str]", "List[str]"]
_PLAINLY = {  # what C++ says of int("a") and float("a")
    "stoll": "a string is no integer",
    "stod": "a string is no number",
}
_PLACE = re.compile(r'File "<string>", line (\d+)(?:, in (\w+))?')


class Script:
    """A compiled source on a device. `call` is for one thread at a time for each device."""

    def __init__(self, torch: Any, target: Any, source: str) -> None:
        """ScriptError where it does not compile."""
        self._torch, self._target = torch, target
        unit = torch._C.CompilationUnit()
        try:
            check_source(source)
            unit.define(f"{source}\n", names(torch, *namespaces(torch)))
            functions = unit.get_functions()
            self._straight = check_compiled(torch, functions)
        except Exception as error:  # ours, and whatever torch says about a client's text
            what = str(error) if isinstance(error, ScriptError) else _compile_error(str(error))
            raise ScriptError(f"ERR the script does not compile: {what}") from None
        self._functions = {function.name: function for function in functions}
        self._stop_type = stop_type(torch)
        self._stoppable: dict[str, Any] = {}  # of those that are not straight, when they are first called

    def is_straight(self, function: str) -> bool:
        """Whether all calls of the function take about as long: it neither loops nor asks its shard."""
        return function in self._straight

    def check_entry_points(self, entry_points: Sequence[str]) -> None:
        """ScriptError unless each is a function of three lists."""
        for name in entry_points:
            if name not in self._functions:
                raise ScriptError(f"Function {name} does not exist in the given script.")
            types = _argument_types(self._functions[name])
            if len(types) != len(_SIGNATURE):
                raise ScriptError(
                    f"Wrong number of inputs in function {name}. "
                    f"Expected {len(_SIGNATURE)} but was {len(types)}"
                )
            if types != _SIGNATURE:
                raise ScriptError(
                    f"Wrong inputs type in function {name}. Expected signature similar to: "
                    f"def {name}(tensors: List[Tensor], keys: List[str], args: List[str])"
                )

    def take_threads(self, threads: int) -> None:
        """As Model.take_threads."""
        take_threads(self._torch, threads)

    def call(self, call: Call, arrays: Sequence[Array], host: Host) -> list[Array]:
        """The call's outputs. ScriptError, ModelError."""
        torch = self._torch
        if call.function not in self._functions:
            raise ScriptError(f"Function does not exist: {call.function}")
        if any(array.dtype == object for array in arrays):
            raise ScriptError("ERR a script takes no STRING tensors")
        function = self._functions[call.function]
        tensors = [torch.from_numpy(array).to(self._target) for array in arrays]
        if call.is_entry_point:
            arguments = [tensors, list(call.keys), list(call.args)]
        else:
            arguments = _by_position(function, tensors, call.list_at)
        with torch.inference_mode(), serving(host) as errors:
            try:
                if self.is_straight(call.function):
                    result = function(*arguments)
                else:
                    result = self._call_stoppable(function, arguments, host)
            except Exception as error:  # of the interpreter, an operator, or the host
                raise _run_error(call.function, error, errors) from None
        return self._outputs(call, result)

    def _call_stoppable(self, function: Any, arguments: Sequence[Any], host: Host) -> Any:
        """As the function itself, until nobody waits for it any more."""
        if function.name not in self._stoppable:
            self._stoppable[function.name] = stoppable(self._torch, function, self._stop_type)
        stop = new_stop(self._torch, self._stop_type)
        with host.watching(partial(ask_to_stop, stop)):
            return self._stoppable[function.name](*arguments, stop)

    def _outputs(self, call: Call, result: Any) -> list[Array]:
        if not call.outputs:
            return []
        results = result if isinstance(result, (list, tuple)) else [result]
        if not all(isinstance(value, self._torch.Tensor) for value in results):
            raise ScriptError(f"Function returned non-tensor values - {call.function}")
        if len(results) != call.outputs:
            raise ScriptError(f"Function returned unexpected number of outputs - {call.function}")
        return [array_of(value, "output", n, of="script") for n, value in enumerate(results)]


class ScriptCall(Model):
    """A call in the queue of its device, which takes it for a model that runs once."""

    weight_bytes = mapped_bytes = 0

    def __init__(self, script: Script, call: Call, host: Host) -> None:
        self._script, self._call, self._host = script, call, host
        self.inputs: tuple[str, ...] = ()
        self.outputs = ("",) * call.outputs

    def take_threads(self, threads: int) -> None:
        self._script.take_threads(threads)

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        return self._script.call(self._call, tensors, self._host)


class Scripts:
    """The compiled scripts of this process, least recently used first to go. For the loop's thread."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._scripts: OrderedDict[tuple[str, Device], Script] = OrderedDict()
        self._compiling: dict[tuple[str, Device], asyncio.Future[Script]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compile")

    def get(self, parts: ScriptParts) -> Script | None:
        """The script, if it is compiled."""
        key = parts.digest, parts.device
        if key in self._scripts:
            self._scripts.move_to_end(key)
        return self._scripts.get(key)

    async def compile(self, parts: ScriptParts) -> Script:
        """The script. BackendError where it cannot be compiled. Those who ask for it together wait for one
        compilation."""
        if script := self.get(parts):
            return script
        key = parts.digest, parts.device
        if key not in self._compiling:
            loop = asyncio.get_running_loop()
            compiling = loop.run_in_executor(self._thread, self._compile, parts.device, parts.source)
            compiling.add_done_callback(lambda future: self._compiled(key, future))
            self._compiling[key] = compiling
        return await asyncio.shield(self._compiling[key])

    def _compile(self, device: Device, source: str) -> Script:
        try:
            backend = cast(TorchBackend, self._backends[TorchBackend.name])
            backend.require(device)
            return Script(backend.torch, backend.target(device), source)
        except BackendError:
            raise
        except Exception as error:  # torch's own, as where a library of its is not there
            what = f"the script could not be compiled: {type(error).__name__}: {error}"
            raise BackendError(what) from error

    def _compiled(self, key: tuple[str, Device], future: asyncio.Future[Script]) -> None:
        del self._compiling[key]
        if future.exception() is None:
            self._scripts[key] = future.result()
            if len(self._scripts) > KEPT_SCRIPTS:
                self._scripts.popitem(last=False)


def _argument_types(function: Any) -> list[str]:
    return [argument.type.annotation_str for argument in function.schema.arguments]


def _by_position(function: Any, tensors: Sequence[Any], list_at: int) -> list[Any]:
    """The arguments of a function that is no entry point."""
    name, arguments, taken, listed = function.name, [], 0, False
    for kind in _argument_types(function):
        if taken == len(tensors):
            raise ScriptError(f"Wrong number of inputs provided to function: {name}")
        if kind == "Tensor":
            arguments.append(tensors[taken])
            taken += 1
        elif kind == "List[Tensor]":
            if list_at not in (-1, taken):
                break
            arguments.append(tensors[taken:])
            taken, listed = len(tensors), True
        else:
            raise ScriptError(f"Unsupported input type in function definition: {name}")
    if taken < len(tensors) or (list_at != -1 and not listed):
        raise ScriptError(f"Wrong number of inputs provided to function: {name}")
    return arguments


def _run_error(function: str, error: Exception, errors: Sequence[Exception]) -> ScriptError:
    """What ended a script, and where. `errors` are ours, on which torch puts its own words."""
    places = _PLACE.findall(str(error))
    where = f" in line {places[-1][0]} of {places[-1][1] or function}" if places else ""
    if errors:
        what = str(errors[-1]) if isinstance(errors[-1], KeymissError) else repr(errors[-1])
    elif "UnicodeDecodeError" in str(error):
        what = "a string that a script gives to redis or redisAI must be UTF-8"
    else:
        what = _PLAINLY.get(useful(error), useful(error))
    return ScriptError(f"ERR the script failed{where}: {what}")


def _compile_error(message: str) -> str:
    """torch's message in one line: what is wrong, and where."""
    lines = [line.strip() for line in message.splitlines()]
    what = next((line for line in lines if line), "unknown error").removesuffix(" here:").rstrip(":. ")
    if expected := [line for line in lines if line.startswith(("Expected ", "Argument ", "Unknown "))]:
        what += f": {expected[0].rstrip('.')}" if not expected[0].startswith(what) else ""
    if place := _PLACE.search(message):
        what += f" (line {place[1]}"
        marked = next((n for n, line in enumerate(lines) if line.endswith("<--- HERE")), 0)
        what += f": {lines[marked - 1][:MAX_QUOTED]})" if marked else ")"
    return what
