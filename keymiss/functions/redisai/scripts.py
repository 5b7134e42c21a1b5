"""One run of a function of the script at a key: a DAG of its inputs, itself, and its outputs."""

from __future__ import annotations

from typing import Any

from keymiss.errors import GearsError
from keymiss.functions import replies
from keymiss.functions.answers import Pending
from keymiss.functions.redisai.arguments import arguments, items, name
from keymiss.functions.redisai.dag import Op, ScriptOp, Words, run, start
from keymiss.functions.redisai.stored import script_at
from keymiss.functions.redisai.tensors import PyTensor, name_first, tensor_of, tensorget, tensorset


class PyScriptRunner:
    """A run that is being put together. An input that is a list stands for an argument that is one."""

    def __init__(self, key: bytes, function: str) -> None:
        self.key = key
        self.function = function
        self.inputs: list[PyTensor | list[PyTensor]] = []
        self.outputs = 0

    def ops(self) -> list[Op]:
        """The run, with local names for its tensors."""
        sets: list[Op] = []

        def local(tensor: PyTensor) -> bytes:
            name = b"in%d" % len(sets)
            sets.append(Words(tensorset(name, tensor)))
            return name

        inputs: list[bytes | list[bytes]] = [
            local(one) if isinstance(one, PyTensor) else [local(tensor) for tensor in one]
            for one in self.inputs
        ]
        outputs = [b"out%d" % n for n in range(self.outputs)]
        op = ScriptOp(self.key, self.function, inputs, outputs)
        return [*sets, op, *(Words(tensorget(output)) for output in outputs)]


def createScriptRunner(*given: Any) -> PyScriptRunner:
    """createScriptRunner(key, function): a run of it, to be given its inputs and outputs.

    Whether there is such a function is found out by the run.
    """
    key, function = arguments("createScriptRunner", given, 2)
    key = replies.argument(name(key, "key"))
    name(function, "function name")
    try:
        script_at(key)
    except GearsError:
        raise GearsError("given key do not contain RedisAI script") from None
    return PyScriptRunner(key, function)


def scriptRunnerAddInput(*given: Any) -> int:
    """scriptRunnerAddInput(runner, tensor[, name]), or the name first: always 1. Inputs go by their order."""
    runner, *named = arguments("scriptRunnerAddInput", given, 2, 3)
    tensor = name_first(*named)[1] if len(named) == 2 else named[0]
    _runner(runner).inputs.append(tensor_of(tensor))
    return 1


def scriptRunnerAddInputList(*given: Any) -> int:
    """scriptRunnerAddInputList(runner, tensors): always 1. An input that is a list of tensors."""
    runner, tensors = arguments("scriptRunnerAddInputList", given, 2)
    _runner(runner).inputs.append([tensor_of(one) for one in items(tensors, "tensors argument")])
    return 1


def scriptRunnerAddOutput(*given: Any) -> int:
    """scriptRunnerAddOutput(runner[, name]): always 1. One more output is asked for."""
    runner, *_ = arguments("scriptRunnerAddOutput", given, 1, 2)
    _runner(runner).outputs += 1
    return 1


def scriptRunnerRun(*given: Any) -> list[PyTensor]:
    """Run it and wait: the outputs."""
    return run(_runner(*arguments("scriptRunnerRun", given, 1)).ops())


def scriptRunnerRunAsync(*given: Any) -> Pending[list[PyTensor]]:
    """Start it at once; to be awaited for the outputs."""
    return start(_runner(*arguments("scriptRunnerRunAsync", given, 1)).ops())


def _runner(value: Any) -> PyScriptRunner:
    if not isinstance(value, PyScriptRunner):
        raise GearsError("Given argument is not of type PyScriptRunner")
    return value
