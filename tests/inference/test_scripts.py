"""Scripts: what compiles and what does not, how functions are called, what may come of them; and that a
source is never Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from inference.conftest import child_worker
from inference.shard import Ran, ScriptOp, Shard, StoredScript, floats
from support.paths import worker_pythonpath

from keymiss.channel import Tensor
from keymiss.errors import ScriptError
from keymiss.inference.dialect import check_compiled, check_source
from keymiss.inference.scripts import Script

OK = b"+OK\r\n"
X = floats(1, 3, values=[1, 2, 3])
SIGNATURE = "tensors: List[Tensor], keys: List[str], args: List[str]"
OLD = """\
def bar(a, b):
    return a - b
def rest(a, others: List[Tensor]):
    return torch.cat([a] + others)
def only(others: List[Tensor]):
    return torch.cat(others)
def text(a, b: str):
    return a
"""


def entry(*lines: str) -> StoredScript:
    """A script whose entry point `f` has this body."""
    return StoredScript(f"def f({SIGNATURE}):\n" + "".join(f"    {line}\n" for line in lines), ["f"])


def call(shard: Shard, op: ScriptOp, tensors: Sequence[Tensor] = (X,)) -> tuple[Ran, list[Tensor | None]]:
    """What becomes of the op, and its outputs."""
    wanted = range(len(tensors), len(tensors) + op.outputs)
    graphed = shard.dag(tensors, [op], wanted)
    return graphed.ops[0], graphed.wanted


class TestCompile:
    def test_a_script_is_ready_and_may_be_stored_again(self, shard: Shard) -> None:
        script = entry("return tensors[0]")
        assert shard.compile(script) == shard.compile(script) == OK

    def test_an_empty_source_is_a_script(self, shard: Shard) -> None:
        assert shard.compile(StoredScript("")) == OK

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ("", "Wrong number of inputs in function f. Expected 3 but was 0"),
            ("a", "Wrong number of inputs in function f. Expected 3 but was 1"),
            ("t: List[Tensor], k: List[int], a: List[str]", "Wrong inputs type in function f. "),
            ("t, k: List[str], a: List[str]", "Wrong inputs type in function f. "),
        ],
    )
    def test_an_entry_point_takes_three_lists(self, shard: Shard, arguments: str, error: str) -> None:
        refused = shard.compile(StoredScript(f"def f({arguments}):\n    return torch.ones(1)\n", ["f"]))
        assert refused.startswith(b"-" + error.encode())

    def test_the_signature_that_is_expected_is_shown(self, shard: Shard) -> None:
        refused = shard.compile(StoredScript("def g(a, b, c):\n    return a\n", ["g"]))
        assert refused.endswith(b"Expected signature similar to: def g(" + SIGNATURE.encode() + b")\r\n")

    def test_an_entry_point_must_be_there(self, shard: Shard) -> None:
        missing = b"-Function nofn does not exist in the given script.\r\n"
        assert shard.compile(StoredScript("", ["nofn"])) == missing

    @pytest.mark.parametrize(
        ("source", "error"),
        [
            ("def f(x):\n    return nothing(x)\n", "undefined value nothing (line 2: return nothing(x))"),
            ("def f(x: List[Tensor]):\n    return x + 1\n", "Expected a value of type 'Tensor'"),
            ("import os\n", "expected def but found 'import' (line 1: import os)"),
            ("def f(x:", "'(' was never closed (line 1: def f(x:)"),
            ("this is not a model", "invalid syntax (line 1: this is not a model)"),
            ("def f(x):\n    return f(x)\n", "function 'f' is called recursively"),
            ("def f(x):\n    return torch.nosuch(x)\n", "nosuch (line 2: return torch.nosuch(x))"),
            ("def f(x: ValueError):\n    return x\n", "Unknown type name 'ValueError'"),
            ("def f(x):\n    return x\0\n", "null bytes"),
        ],
    )
    def test_what_does_not_compile_is_told_in_one_line(self, shard: Shard, source: str, error: str) -> None:
        refused = shard.compile(StoredScript(source, ["f"])).decode()
        assert refused.startswith("-ERR the script does not compile: ")
        assert error in refused
        assert len(refused) < 300

    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
    def test_a_device_that_is_not_there_is_told(self, shard: Shard) -> None:
        script = StoredScript("", device="GPU")
        assert shard.compile(script).startswith(b"-ERR GPU:0 requested but the TORCH backend finds only CPU")

    def test_a_torch_that_cannot_be_loaded_is_told(self, tmp_path: Path) -> None:
        broken = tmp_path / "torch"
        broken.mkdir()
        (broken / "__init__.py").write_text('raise OSError("libgomp.so.1 is not there")')
        with child_worker({"PYTHONPATH": f"{tmp_path}{os.pathsep}{worker_pythonpath()}"}) as (ours, _):
            reply = Shard(ours).compile(entry("return tensors[0]"))
        assert reply.startswith(b"-ERR the script could not be compiled: OSError: libgomp.so.1 is not there")

    def test_names_of_torch_that_scripts_have_always_had(self, shard: Shard) -> None:
        """Operators by their own names, dtypes, constants, and casts."""
        body = (
            "x = torch.leaky_relu(tensors[0]) + torch.zeros([3], dtype=torch.float32)",
            "d: Dict[str, int] = {'a': int(args[0])}",
            "l = torch.jit.annotate(List[Tensor], [])",
            "y: Optional[Tensor] = None",
            "if len(l) > 0 or torch.pi < 3:",
            "    raise ValueError('never')",
            "return torch.nn.functional.relu(x) * d['a'], torch.softmax(x, 1).to(torch.int64)",
        )
        ran, outputs = call(shard, ScriptOp(entry(*body), "f", outputs=2, args=["2"]))
        assert ran.reply == OK
        assert [output and output.values for output in outputs] == [[2.0, 4.0, 6.0], [0, 0, 0]]


class TestCalls:
    def test_keys_and_arguments_reach_an_entry_point(self, shard: Shard) -> None:
        script = entry("assert keys == ['a', 'b c'] and args == ['1', '']", "return torch.ones(len(tensors))")
        ran, outputs = call(shard, ScriptOp(script, "f", [], keys=["a", "b c"], args=["1", ""]))
        assert (ran.reply, outputs[0] and outputs[0].shape) == (OK, (0,))

    @pytest.mark.parametrize(
        ("function", "inputs", "list_at", "rows"),
        [("bar", [0, 0], -1, 1), ("rest", [0, 0, 0], -1, 3), ("rest", [0, 0], 1, 2), ("only", [0, 0], 0, 2)],
    )
    def test_other_functions_take_tensors_by_position(
        self, shard: Shard, function: str, inputs: list[int], list_at: int, rows: int
    ) -> None:
        op = ScriptOp(StoredScript(OLD), function, inputs, list_at=list_at)
        _, outputs = call(shard, op)
        assert outputs[0] is not None
        assert outputs[0].shape == (rows, 3)

    @pytest.mark.parametrize(
        ("function", "inputs", "list_at", "error"),
        [
            ("bar", [0], -1, "Wrong number of inputs provided to function: bar"),
            ("bar", [0, 0, 0], -1, "Wrong number of inputs provided to function: bar"),
            ("bar", [0, 0], 1, "Wrong number of inputs provided to function: bar"),
            ("rest", [0], 1, "Wrong number of inputs provided to function: rest"),
            ("rest", [0, 0], 0, "Wrong number of inputs provided to function: rest"),
            ("only", [], -1, "Wrong number of inputs provided to function: only"),
            ("text", [0, 0], -1, "Unsupported input type in function definition: text"),
            ("nofn", [0], -1, "Function does not exist: nofn"),
            ("", [0], -1, "Function does not exist:"),
        ],
    )
    def test_what_does_not_fit_counts_as_a_failed_call(
        self, shard: Shard, function: str, inputs: list[int], list_at: int, error: str
    ) -> None:
        ran, _ = call(shard, ScriptOp(StoredScript(OLD), function, inputs, list_at=list_at))
        assert (ran.reply, ran.counters) == (f"-{error}\r\n".encode(), (1, 0, 1))

    def test_a_function_is_an_entry_point_only_where_the_script_says_so(self, shard: Shard) -> None:
        script = StoredScript(entry("return tensors[0]").source)
        ran, _ = call(shard, ScriptOp(script, "f"))
        assert ran.reply == b"-Wrong number of inputs provided to function: f\r\n"

    @pytest.mark.parametrize(
        ("body", "error"),
        [
            ("return tensors[7]", "in line 2 of f: list index out of range"),
            ("assert len(keys) > 0, 'no keys'", "in line 2 of f: AssertionError: no keys"),
            ("raise ValueError('bad')", "in line 2 of f: ValueError: bad"),
            ("return tensors[0] + torch.ones([2])", "The size of tensor a (3) must match"),
            ("return torch.ones(int(args[0]))", "a string is no integer"),
            ("return tensors[0] * float(args[0])", "a string is no number"),
            ("return torch.empty([1 << 60])", ""),
        ],
    )
    def test_a_failure_tells_where_and_what(self, shard: Shard, body: str, error: str) -> None:
        ran, _ = call(shard, ScriptOp(entry(body), "f", args=["a"]))
        assert ran.reply.startswith(b"-ERR the script failed in line 2 of f: ")
        assert error.encode() in ran.reply
        assert ran.counters == (1, 0, 1)

    def test_a_script_takes_no_strings(self, shard: Shard) -> None:
        text = Tensor.from_values("STRING", (1,), [b"a"])
        ran, _ = call(shard, ScriptOp(entry("return tensors[0]"), "f"), [text])
        assert ran.reply == b"-ERR a script takes no STRING tensors\r\n"

    def test_a_script_that_writes_into_an_input_changes_it_for_nobody_else(self, shard: Shard) -> None:
        script = entry("return tensors[0].zero_()")
        assert shard.dag([X], [ScriptOp(script, "f"), ScriptOp(script, "f")], [0, 1]).wanted[0] == X


class TestResults:
    @pytest.mark.parametrize("result", ["[x, x * 2]", "(x, x * 2)"])
    def test_a_list_or_a_tuple_of_tensors_is_as_many_outputs(self, shard: Shard, result: str) -> None:
        op = ScriptOp(entry("x = tensors[0]", f"return {result}"), "f", outputs=2)
        assert [output and output.values for output in call(shard, op)[1]] == [[1, 2, 3], [2, 4, 6]]

    @pytest.mark.parametrize(("wanted", "result"), [(2, "x"), (1, "[x] * 500"), (1, "l"), (1, "(x, x, x)")])
    def test_another_number_of_outputs_is_refused(self, shard: Shard, wanted: int, result: str) -> None:
        script = entry("x = tensors[0]", "l: List[Tensor] = []", f"return {result}")
        ran, _ = call(shard, ScriptOp(script, "f", outputs=wanted))
        assert ran.reply == b"-Function returned unexpected number of outputs - f\r\n"

    @pytest.mark.parametrize("result", ["5", "args[0]", "(tensors[0], 5)", "None"])
    def test_what_is_no_tensor_is_refused(self, shard: Shard, result: str) -> None:
        ran, _ = call(shard, ScriptOp(entry(f"return {result}"), "f", args=["a"]))
        assert ran.reply == b"-Function returned non-tensor values - f\r\n"

    @pytest.mark.parametrize(
        ("result", "what"),
        [("x.half()", "float16"), ("torch.complex(x, x)", "complex64"), ("x.to_sparse()", "a sparse tensor")],
    )
    def test_what_no_key_can_hold_is_refused(self, shard: Shard, result: str, what: str) -> None:
        ran, _ = call(shard, ScriptOp(entry("x = tensors[0]", f"return {result}"), "f"))
        assert ran.reply.startswith(f"-ERR output 1 of the script is {what}".encode())

    def test_where_no_outputs_are_wanted_any_result_will_do(self, shard: Shard) -> None:
        for result in ("5", "tensors[0].half()", "None", "[tensors[0]] * 9"):
            assert call(shard, ScriptOp(entry(f"return {result}"), "f", outputs=0))[0].reply == OK

    def test_scalars_empty_tensors_and_views_come_out(self, shard: Shard) -> None:
        op = ScriptOp(
            entry("x = tensors[0]", "return x.sum(), torch.zeros([0, 3]), x.expand(2, 3).t()"), "f", outputs=3
        )
        scalar, empty, view = call(shard, op)[1]
        assert scalar == floats(values=[6])
        assert empty == floats(0, 3, values=[])
        assert view == floats(3, 2, values=[1, 1, 2, 2, 3, 3])


PYTHON = [
    "open('pwned', 'w')",
    "__import__('os').system('true')",
    "eval('1')",
    "exec('1')",
    "globals()",
    "torch.os.system('true')",
    "torch.load('pwned')",
    "torch.save(x, 'pwned')",
    "torch.from_file('/etc/passwd')",
    "torch.jit.load('pwned')",
    "torch.jit.script(x)",
    "torch.ops.load_library('pwned')",
    "torch.classes",
    "torch._C",
    "torch.nn.functional.torch.load('pwned')",
    "torch.nn.functional.importlib",
    "torch.__class__('a')",
    "getattr(torch, '__class__')('a')",
    "getattr(torch, '__init__')('a')",
    "getattr(torch.nn.functional.softmax, '__globals__')",
    "torch.jit.annotate.__globals__",
    "redis.execute.__class__",
    "redis._library.define('f() -> int')",
    "ValueError.__subclasses__()",
    "x.__class__",
    "x.numpy()",
    "x.save('pwned')",
    "'pwned'.save(x)",
    "'/etc/passwd'.from_file()",
    "fork(x)",
    "torch.jit._fork(x)",
    "torch.jit.fork(f, x)",
    "(lambda: x)()",
]


class TestSecurity:
    """A source is a client's text: nothing of Python may be reached through it, in any place of it."""

    @pytest.mark.parametrize("expression", PYTHON)
    def test_python_is_out_of_reach(self, expression: str) -> None:
        with pytest.raises(ScriptError):
            Script(torch, torch.device("cpu"), f"def f(x):\n    return {expression}\n")

    @pytest.mark.parametrize("expression", [*PYTHON, "torch.ones([1]).numel()", "redis.execute('FLUSHALL')"])
    def test_nothing_runs_while_it_compiles(self, expression: str) -> None:
        with pytest.raises(ScriptError):
            Script(torch, torch.device("cpu"), f"def f(x: int = {expression}):\n    return x\n")

    def test_literals_are_defaults(self) -> None:
        Script(
            torch,
            "cpu",
            "def f(a: int = -1, b: List[int] = [1, 2], c: Optional[str] = None):\n    return a\n",
        )

    @pytest.mark.parametrize(
        "what", ["@torch.jit.ignore", "class A:\n    pass", "import os", "x = 1", "print(1)"]
    )
    def test_there_is_nothing_but_functions(self, what: str) -> None:
        with pytest.raises(ScriptError):
            Script(torch, "cpu", f"{what}\ndef f(x):\n    return x\n")

    @pytest.mark.parametrize(
        "annotation", ["os.system('true')", "torch.jit.load('a')", "(lambda: 1)()", "redis"]
    )
    def test_an_annotation_is_not_evaluated(self, annotation: str) -> None:
        with pytest.raises(ScriptError):
            Script(torch, "cpu", f"def f(x: {annotation}):\n    return x\n")

    def test_what_was_compiled_is_looked_at_however_it_came_there(self, tmp_path: Path) -> None:
        unit = torch.jit.CompilationUnit("def f(x):\n    torch.save(x, 'pwned')\n    return x\n")
        with pytest.raises(ScriptError, match=r"cannot use torch\.save"):
            check_compiled(torch, [unit.f])

    @pytest.mark.parametrize(
        "source",
        [
            "def f(x):\n    return " + "(" * 5000 + "x" + ")" * 5000,
            "def f(x):\n    return " + "-" * 100_000 + "x",
            "def f(x):\n    return x" + " + x" * 1000,
            "def f(x: int):\n    if x == 0:\n        return 0\n"
            + "".join(f"    elif x == {n}:\n        return {n}\n" for n in range(1000)),
            "#" * 300_000,
            "".join(f"def f{n}(x):\n    return {f'f{n - 1}(x)' if n else 'x'}\n" for n in range(200)),
            "def f(x):\n    return '\ud800'\n",
        ],
        ids=["parentheses", "signs", "sum", "elif", "size", "calls", "surrogate"],
    )
    def test_what_would_break_a_compiler_is_refused_before(self, source: str) -> None:
        with pytest.raises(ScriptError):
            check_source(source)

    def test_a_function_that_is_too_long_with_what_it_calls_is_refused(self) -> None:
        """The second one is short, and would be of a billion operations."""
        doubling = "".join(f"def f{n}(x):\n    g = f{n - 1}\n    return g(g(x))\n" for n in range(1, 30))
        long = "def f(x):\n" + "    x = x + 1\n" * 6000 + "    return x\n"
        for source in (long, "def f0(x):\n    return x + 1\n" + doubling):
            with pytest.raises(ScriptError, match="has more than 5000 operations"):
                Script(torch, "cpu", source)

    def test_a_long_function_runs(self, shard: Shard) -> None:
        lines = ["x = tensors[0]", *["x = x + 1"] * 1000, "return x"]
        _, outputs = call(shard, ScriptOp(entry(*lines), "f"))
        assert outputs[0] == floats(1, 3, values=[1001, 1002, 1003])

    def test_deep_sources_that_are_taken_compile_on_a_small_stack(self, shard: Shard) -> None:
        source = "def f(x):\n    return x" + " + x" * 200 + "\n"
        assert shard.compile(StoredScript(source)) == OK
