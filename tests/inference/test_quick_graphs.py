"""DAGs of quick ops are run where their frames are read, and nobody can tell by what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from inference.lent import Lent
from inference.shard import Graphed, ModelOp, ScriptOp, Shard, StoredModel, StoredScript, floats

from keymiss.backends import Array, Model
from keymiss.channel import Frame, Tensor, tensor_parts
from keymiss.inference import batcher
from keymiss.inference.dialect import check_compiled
from keymiss.inference.frames import Call, ScriptParts
from keymiss.inference.loan import Loan
from keymiss.inference.quick_graphs import QuickGraphs
from keymiss.inference.scripts import Script

Make = Callable[..., StoredModel]
OK, NA = b"+OK\r\n", b"+NA\r\n"
X = floats(1, 2, values=[1, 2])
SIGNATURE = "(tensors: List[Tensor], keys: List[str], args: List[str])"
SOURCE = f"""\
def double{SIGNATURE}:
    return tensors[0] * 2
def refuse{SIGNATURE}:
    if bool(tensors[0].sum() > 0):
        raise ValueError("positive")
    return tensors[0]
def ask{SIGNATURE}:
    redis.execute("PING")
    return tensors[0]
def loop{SIGNATURE}:
    y = tensors[0]
    for _ in range(3):
        y = y + 1
    return y
"""
SCRIPT = StoredScript(SOURCE, ["double", "refuse", "ask", "loop"])


class Doubles(Model):
    inputs: tuple[str, ...] = ("x",)
    outputs: tuple[str, ...] = ("y",)
    weight_bytes = mapped_bytes = 0

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        return [2 * tensors[0]]


class Graphs(Lent):
    """DAGs of one loaded model and one compiled script, whose functions have all run before."""

    def __init__(self) -> None:
        super().__init__(Doubles())
        self.scripts = self
        self.script = Script(torch, "cpu", SOURCE)
        self.quick = QuickGraphs(self, self, Loan(self))  # type: ignore[arg-type]

    def get(self, parts: ScriptParts) -> Script:
        return self.script

    def script_key(self, parts: ScriptParts, call: Call) -> str:
        return "m"

    def frame(self, *ops: ModelOp | ScriptOp, wanted: Sequence[int] = ()) -> Frame:
        said = [part for op in ops for part in op.parts()]
        return self.job("DAG", *tensor_parts([X]), len(ops), *said, len(wanted), *wanted)


class TestWhichAreQuick:
    @pytest.fixture
    def graphs(self, monkeypatch: pytest.MonkeyPatch) -> Graphs:
        monkeypatch.setattr(batcher, "_QUICK_S", 5.0)  # the first pass compiles, the core may be lost
        return Graphs()

    def test_models_and_functions_that_go_straight_to_their_end(self, graphs: Graphs, model: Make) -> None:
        ops = ScriptOp(SCRIPT, "double"), ModelOp(model("Linear"), [1])
        for _ in range(2):
            assert graphs.quick.run(graphs.frame(*ops, wanted=[2]))
            assert [frame[2] for frame in graphs.answers()] == [OK]
        assert graphs.asked_for.requests == 4

    @pytest.mark.parametrize("function", ["ask", "loop"])
    def test_none_that_may_wait_or_take_any_time(self, graphs: Graphs, function: str) -> None:
        assert not graphs.quick.run(graphs.frame(ScriptOp(SCRIPT, function)))

    def test_none_of_a_model_that_joins_others(self, graphs: Graphs, model: Make) -> None:
        assert not graphs.quick.run(graphs.frame(ModelOp(model("Linear", batchsize=2))))

    def test_none_that_is_slow_or_has_become_so(self, graphs: Graphs, model: Make) -> None:
        assert graphs.quick.run(graphs.frame(ModelOp(model("Linear"))))
        graphs.answers()
        graphs.queue._costs.learn("m", 1000.0)
        assert not graphs.quick.run(graphs.frame(ModelOp(model("Linear"))))

    def test_none_where_the_device_is_in_use(self, graphs: Graphs, model: Make) -> None:
        assert graphs.queue.borrow()
        assert not graphs.quick.run(graphs.frame(ModelOp(model("Linear"))))

    @pytest.mark.parametrize("inputs", [[0, 0], [7]])
    def test_none_with_anything_wrong(self, graphs: Graphs, model: Make, inputs: list[int]) -> None:
        assert not graphs.quick.run(graphs.frame(ModelOp(model("Linear"), inputs)))
        assert not graphs.answers()

    def test_what_a_function_calls_counts(self) -> None:
        source = "def a(x):\n    for _ in range(2):\n        x = x + 1\n    return x\n"
        source += "def b(x):\n    return a(x)\ndef c(x):\n    return x + 1\n"
        unit = torch._C.CompilationUnit()
        unit.define(source, lambda name: None)
        assert check_compiled(torch, unit.get_functions()) == {"c"}


class TestAnswers:
    """The first run of a DAG goes the long way; the later ones say the same."""

    def _same(
        self, shard: Shard, ops: Sequence[ModelOp | ScriptOp], wanted: Sequence[int], tensors: Any = (X,)
    ) -> Graphed:
        def shown(graphed: Graphed) -> object:
            values = [tensor and (tensor.dtype, tensor.shape, tensor.values) for tensor in graphed.wanted]
            return graphed.reply, [(op.reply, op.counters) for op in graphed.ops], values

        first, *others = [shard.dag(tensors, ops, wanted) for _ in range(5)]
        assert all(shown(other) == shown(first) for other in others)
        return first

    def test_of_ops_in_a_row(self, shard: Shard, model: Make) -> None:
        ops = [ScriptOp(SCRIPT, "double"), ModelOp(model("Rows"), [1], 2), ScriptOp(SCRIPT, "double", [2])]
        assert [tensor and tensor.values for tensor in self._same(shard, ops, [4, 1]).wanted] == [
            [12.0],
            [2.0, 4.0],
        ]

    def test_of_one_that_fails_with_those_that_need_it(self, shard: Shard, model: Make) -> None:
        ops = [
            ScriptOp(SCRIPT, "refuse"),
            ScriptOp(SCRIPT, "double", [1]),
            ModelOp(model("Positive"), [2]),
            ScriptOp(SCRIPT, "double"),
        ]
        graphed = self._same(shard, ops, [1, 3, 4])
        assert b"positive" in graphed.ops[0].reply
        assert [op.reply for op in graphed.ops[1:]] == [NA, NA, OK]
        assert [tensor is None for tensor in graphed.wanted] == [True, True, False]

    def test_of_one_that_its_tensors_do_not_fit(self, shard: Shard, model: Make) -> None:
        strings = Tensor.from_values("STRING", (1,), [b"x"])
        graphed = self._same(shard, [ModelOp(model("Rows"), [0], 2)], [1], [strings])
        assert b"STRING" in graphed.ops[0].reply

    def test_of_one_that_loops(self, shard: Shard) -> None:
        (output,) = self._same(shard, [ScriptOp(SCRIPT, "loop")], [1]).wanted
        assert output is not None and output.values == [4.0, 5.0]

    def test_of_one_that_asks_its_shard(self, shard: Shard) -> None:
        for _ in range(4):
            job = shard.start_dag([X], [ScriptOp(SCRIPT, "ask")], [1])
            seq, _, argv = shard.asked("CALL")
            assert argv == [b"PING"]
            shard.send("RESULT", seq, b"+PONG\r\n")
            assert shard.finish_dag(job).ops[0].reply == OK

    def test_of_a_model_that_was_unloaded_meanwhile(self, shard: Shard, model: Make) -> None:
        linear = model("Linear")
        for _ in range(4):
            assert shard.dag([floats(1, 3, values=[1, 2, 3])], [ModelOp(linear)], [1]).ops[0].reply == OK
            shard.send("UNLOAD", linear.digest)

    def test_of_many_at_once(self, shard: Shard, model: Make) -> None:
        self._same(shard, [ScriptOp(SCRIPT, "double")], [1])
        started = []
        for n in range(500):
            function = "loop" if n % 9 == 0 else "double"
            x = floats(1, 1, values=[n])
            expected = [n + 3.0] if function == "loop" else [2.0 * n]
            started.append((shard.start_dag([x], [ScriptOp(SCRIPT, function)], [1]), expected))
        for job, expected in started:
            (output,) = shard.finish_dag(job).wanted
            assert output is not None and output.values == expected
