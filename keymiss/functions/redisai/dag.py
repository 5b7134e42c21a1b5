"""Several operations in one request.

A DAG is the shard's own AI.DAGEXECUTE, which knows tensors by local names, runs side by side what can be, and
touches no key. Where nothing of it could write, the read-only variant is taken, which a replica runs too. A
script that was stored without entry points can be run by the older AI.DAGRUN alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import hiredis

from keymiss.errors import GearsError
from keymiss.functions import context, replies
from keymiss.functions.answers import Pending
from keymiss.functions.redisai.arguments import arguments, items, name
from keymiss.functions.redisai.stored import model_at, script_at
from keymiss.functions.redisai.tensors import PyTensor, name_first, parsed, tensor_of, tensorget, tensorset

_PIPE = b"|>"
_TENSOR_COMMANDS = (b"AI.TENSORSET", b"AI.TENSORGET")
_KEY_COMMANDS: dict[bytes, Callable[[bytes], object]] = {  # and what finds out whether their key is right
    b"AI.MODELEXECUTE": model_at,
    b"AI.MODELRUN": model_at,
    b"AI.SCRIPTEXECUTE": script_at,
    b"AI.SCRIPTRUN": script_at,
}
_OLD_COMMANDS = (b"AI.MODELRUN", b"AI.SCRIPTRUN")


class Op(ABC):
    """One operation. `key` is that of its model or script, empty where it has none."""

    key = b""
    is_get = False  # it gives one of the results
    is_old = False  # AI.DAGEXECUTE does not take it
    may_write = False

    @abstractmethod
    def words(self, old: bool) -> list[bytes]:
        """As AI.DAGEXECUTE takes it, or as AI.DAGRUN does (`old`)."""


class Words(Op):
    """A command that is the same for both, or meant for one of them."""

    def __init__(self, words: list[bytes]) -> None:
        command = words[0].upper()
        self._words = words
        self.is_get = command == b"AI.TENSORGET"
        self.is_old = command in _OLD_COMMANDS
        self.may_write = command.startswith(b"AI.SCRIPT")
        if command in _KEY_COMMANDS and len(words) > 1:
            self.key = words[1]

    def words(self, old: bool) -> list[bytes]:
        return self._words


class ModelOp(Op):
    """A run of a model."""

    def __init__(self, key: bytes, inputs: list[bytes], outputs: list[bytes]) -> None:
        self.key = key
        self._inputs, self._outputs = inputs, outputs

    def words(self, old: bool) -> list[bytes]:
        if old:
            return [b"AI.MODELRUN", self.key, b"INPUTS", *self._inputs, b"OUTPUTS", *self._outputs]
        return [
            b"AI.MODELEXECUTE",
            self.key,
            *_counted(b"INPUTS", self._inputs),
            *_counted(b"OUTPUTS", self._outputs),
        ]


class ScriptOp(Op):
    """A run of a function of a script. It may run commands, so read-only DAGs have none.

    In `inputs`, a list stands for an argument that is a list of tensors, which only functions that are no
    entry points tell from several arguments.
    """

    may_write = True

    def __init__(
        self,
        key: bytes,
        function: str,
        inputs: Sequence[bytes | list[bytes]],
        outputs: list[bytes],
    ) -> None:
        self.key = key
        self.is_old = not script_at(key).takes_lists
        self._function = replies.argument(function)
        self._inputs, self._outputs = inputs, outputs

    def words(self, old: bool) -> list[bytes]:
        head = [self.key, self._function]
        if old:
            inputs = list(_flat(self._inputs, b"$"))
            return [b"AI.SCRIPTRUN", *head, b"INPUTS", *inputs, b"OUTPUTS", *self._outputs]
        inputs = list(_flat(self._inputs))
        return [
            b"AI.SCRIPTEXECUTE",
            *head,
            *_counted(b"INPUTS", inputs),
            *_counted(b"OUTPUTS", self._outputs),
        ]


class PyDAGRunner:
    """A DAG that is being put together. Each method returns the runner, so that calls can be chained."""

    def __init__(self) -> None:
        self._inputs: list[Op] = []
        self._ops: list[Op] = []

    def Input(self, *given: Any) -> PyDAGRunner:
        """Input(name, tensor): the tensor is there under that name before the first operation."""
        self._inputs.append(_tensor_op("Input", given))
        return self

    def AddInput(self, *given: Any) -> PyDAGRunner:
        """As `Input`."""
        self._inputs.append(_tensor_op("AddInput", given))
        return self

    def TensorSet(self, *given: Any) -> PyDAGRunner:
        """TensorSet(name, tensor): an operation that gives the name this tensor."""
        self._ops.append(_tensor_op("TensorSet", given))
        return self

    def TensorGet(self, *given: Any) -> PyDAGRunner:
        """TensorGet(name): the tensor of that name is the next one of the results."""
        (local_name,) = arguments("TensorGet", given, 1)
        self._ops.append(Words(tensorget(name(local_name, "tensor name"))))
        return self

    def ModelRun(self, name: Any = None, inputs: Any = None, outputs: Any = None) -> PyDAGRunner:
        """Run the model at the key `name` on tensors of these names, and give its outputs those names.

        GearsError where there is no model.
        """
        key = _key(name, "Model")
        names = _names(inputs, "Model inputs"), _names(outputs, "Model outputs")
        model_at(key)
        self._ops.append(ModelOp(key, *names))
        return self

    def ScriptRun(
        self, name: Any = None, func: Any = None, inputs: Any = None, outputs: Any = None
    ) -> PyDAGRunner:
        """Run the function `func` of the script at the key `name`; else as `ModelRun`.

        Whether there is such a function is found out by the run.
        """
        key = _key(name, "Script")
        if func is None:
            raise GearsError("Function name was not given")
        if not isinstance(func, str):
            raise GearsError("Function name argument must be a string")
        names = _names(inputs, "Script inputs"), _names(outputs, "Script outputs")
        self._ops.append(ScriptOp(key, func, *names))
        return self

    def OpsFromString(self, *given: Any) -> PyDAGRunner:
        """Operations as AI.DAGEXECUTE takes them, "|> AI.MODELEXECUTE m INPUTS 1 a OUTPUTS 1 b |> ...".

        Of AI.TENSORGET the whole tensor is given, whatever the string says. GearsError where there is no such
        model or script; what else is wrong is found out by the run.
        """
        (text,) = arguments("OpsFromString", given, 1)
        self._ops += _ops_of(name(text, "ops"))
        return self

    def Run(self, *given: Any) -> Pending[list[PyTensor]]:
        """Start it at once; to be awaited for the results of its TensorGets, in their order.

        GearsError with the error of the first operation that has one.
        """
        arguments("Run", given, 0)
        return start(self.ops())

    def ops(self) -> list[Op]:
        """What there is of it by now."""
        return [*self._inputs, *self._ops]


def run(ops: Sequence[Op]) -> list[PyTensor]:
    """Run operations as one DAG and wait for the results of those that get a tensor."""
    return _results(ops, context.shard().call(_command(ops)))


def start(ops: Sequence[Op]) -> Pending[list[PyTensor]]:
    """As `run`, started at once and to be awaited."""
    return context.shard().call_async(_command(ops)).then(partial(_results, ops))


def createDAGRunner(*given: Any) -> PyDAGRunner:
    """An empty DAG."""
    arguments("createDAGRunner", given, 0)
    return PyDAGRunner()


def _command(ops: Sequence[Op]) -> list[bytes]:
    if not ops:
        raise GearsError("ERR DAG is empty")
    old = any(op.is_old for op in ops)
    command = b"AI.DAGRUN" if old else b"AI.DAGEXECUTE"
    words = [command if any(op.may_write for op in ops) else command + b"_RO"]
    if not old:
        # Any key of this shard says that it is to be run here.
        here = next((op.key for op in ops if op.key), b"{%b}" % context.shard().hash_tag().encode())
        words += [b"ROUTING", here]
    for op in ops:
        words += [_PIPE, *op.words(old)]
    return words


def _results(ops: Sequence[Op], reply: bytes) -> list[PyTensor]:
    answers = replies.bytes_from_resp(reply)
    if not isinstance(answers, list) or len(answers) != len(ops):
        raise GearsError(f"ERR a DAG of {len(ops)} operations was answered by {answers!r:.200}")
    for answer in answers:
        if isinstance(answer, hiredis.ReplyError):
            raise GearsError(str(answer))
    return [parsed(answer) for op, answer in zip(ops, answers, strict=True) if op.is_get]


def _tensor_op(function: str, given: tuple[Any, ...]) -> Op:
    """The name and the tensor, in either order."""
    local_name, tensor = name_first(*arguments(function, given, 2))
    tensor = tensor_of(tensor, "PyTensorType")
    return Words(tensorset(name(local_name, "tensor name"), tensor))


def _key(value: Any, what: str) -> bytes:
    if value is None:
        raise GearsError(f"{what} key name was not given")
    return replies.argument(name(value, f"{what} key name"))


def _names(values: Any, what: str) -> list[bytes]:
    return [replies.argument(name(value, what)) for value in items(values, what)]


def _counted(word: bytes, names: list[bytes]) -> list[bytes]:
    return [word, b"%d" % len(names), *names]


def _flat(inputs: Sequence[bytes | list[bytes]], mark: bytes = b"") -> Iterator[bytes]:
    """The names, with `mark` before those of a list."""
    for one in inputs:
        if isinstance(one, bytes):
            yield one
        else:
            yield from [mark, *one] if mark else one


def _ops_of(text: str) -> list[Op]:
    words = [replies.argument(word) for word in text.split()]
    if not words or words[0] != _PIPE:
        raise GearsError("ERR the ops must start with |>")
    found: list[list[bytes]] = []
    for word in words:
        if word == _PIPE:
            found.append([])
        else:
            found[-1].append(word)
    return [_op_of(words) for words in found]


def _op_of(words: list[bytes]) -> Op:
    command = words[0].upper() if words else b""
    if command not in _TENSOR_COMMANDS and command not in _KEY_COMMANDS:
        raise GearsError("Unsupported command within DAG")
    if command in _KEY_COMMANDS and len(words) > 1:
        _KEY_COMMANDS[command](words[1])
    if command == b"AI.TENSORGET" and len(words) > 1:
        return Words([*words[:2], b"META", b"BLOB"])
    return Words(words)
