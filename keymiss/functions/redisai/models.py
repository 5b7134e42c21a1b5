"""One run of the model at a key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keymiss.channel import Tensor
from keymiss.errors import GearsError
from keymiss.functions import context, replies
from keymiss.functions.answers import Pending
from keymiss.functions.redisai.arguments import arguments, items, name
from keymiss.functions.redisai.stored import StoredModel, model_at
from keymiss.functions.redisai.tensors import PyTensor, name_first, tensor_of


class PyGraphRunner:
    """A run that is being put together: its key, and inputs and outputs by name."""

    def __init__(self, key: bytes, stored: StoredModel) -> None:
        self.key = key
        self.inputs: list[tuple[str, PyTensor]] = []
        self.outputs: list[str] = []
        self._stored = stored

    def tensors(self) -> list[PyTensor]:
        """The inputs in the order of the model where their names are its own, else as they were added."""
        if sorted(name for name, _ in self.inputs) == sorted(self._stored.inputs):
            by_name = dict(self.inputs)
            return [by_name[name] for name in self._stored.inputs]
        return [tensor for _, tensor in self.inputs]

    def results(self, tensors: list[Tensor]) -> list[PyTensor]:
        """The outputs in the order in which they were added.

        GearsError where the model gave another number of them.
        """
        if len(tensors) != len(self.outputs):
            raise GearsError(f"ERR the model gave {len(tensors)} outputs, {len(self.outputs)} were asked for")
        given = [PyTensor.trusted(tensor.dtype, tensor.shape, tensor.data) for tensor in tensors]
        if sorted(self.outputs) == sorted(self._stored.outputs):
            by_name = dict(zip(self._stored.outputs, given, strict=True))
            return [by_name[name] for name in self.outputs]
        return given


def createModelRunner(*given: Any) -> PyGraphRunner:
    """A run of the model at a key, to be given its inputs and outputs."""
    (key,) = arguments("createModelRunner", given, 1)
    key = replies.argument(name(key, "key"))
    try:
        stored = model_at(key)
    except GearsError:
        raise GearsError("given key do not contain RedisAI model") from None
    return PyGraphRunner(key, stored)


def modelRunnerAddInput(*given: Any) -> int:
    """modelRunnerAddInput(runner, name, tensor), or the tensor first: always 1."""
    runner, *named = arguments("modelRunnerAddInput", given, 3)
    input_name, tensor = name_first(*named)
    _runner(runner).inputs.append((name(input_name, "input name"), tensor_of(tensor)))
    return 1


def modelRunnerAddOutput(*given: Any) -> int:
    """modelRunnerAddOutput(runner, name): always 1."""
    runner, output_name = arguments("modelRunnerAddOutput", given, 2)
    _runner(runner).outputs.append(name(output_name, "output name"))
    return 1


def modelRunnerRun(*given: Any) -> list[PyTensor]:
    """Run it and wait: the outputs, in the order in which they were added."""
    runner = _runner(*arguments("modelRunnerRun", given, 1))
    return runner.results(context.shard().run_model(runner.key, runner.tensors()))


def modelRunnerRunAsync(*given: Any) -> Pending[list[PyTensor]]:
    """Start it at once; to be awaited for the outputs."""
    runner = _runner(*arguments("modelRunnerRunAsync", given, 1))
    return context.shard().run_model_async(runner.key, runner.tensors()).then(runner.results)


# All of it in one call, which RedisGears never had: its runners take a call for each input and output.


def runModel(*given: Any) -> list[PyTensor]:
    """runModel(key, {name: tensor, ...}, [name, ...]): run the model at a key and wait: its outputs of these
    names, in their order."""
    runner = _put_together("runModel", given)
    return runner.results(context.shard().run_model(runner.key, runner.tensors()))


def runModelAsync(*given: Any) -> Pending[list[PyTensor]]:
    """As `runModel`, started at once; to be awaited for the outputs."""
    runner = _put_together("runModelAsync", given)
    return context.shard().run_model_async(runner.key, runner.tensors()).then(runner.results)


def _put_together(function: str, given: tuple[Any, ...]) -> PyGraphRunner:
    key, inputs, outputs = arguments(function, given, 3)
    if not isinstance(inputs, Mapping):
        raise GearsError("inputs must be a dict of tensors by name")
    runner = createModelRunner(key)
    for input_name, tensor in inputs.items():
        runner.inputs.append((name(input_name, "input name"), tensor_of(tensor)))
    for output_name in items(outputs, "outputs"):
        runner.outputs.append(name(output_name, "output name"))
    return runner


def _runner(value: Any) -> PyGraphRunner:
    if not isinstance(value, PyGraphRunner):
        raise GearsError("Given argument is not of type PyGraphRunner")
    return value
