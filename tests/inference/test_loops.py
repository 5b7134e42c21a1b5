"""Loops of scripts: they end when nobody waits for their script any more, and change nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from inference.shard import Graphed, ScriptOp, Shard, StoredScript, floats

X = floats(1, 3, values=[1, 2, 3])
OK = b"+OK\r\n"


def entry(*body: str, before: str = "") -> ScriptOp:
    """A call of an entry point with this body, on X. `before`: other functions."""
    head = "def f(tensors: List[Tensor], keys: List[str], args: List[str]):\n    x = tensors[0]\n"
    lines = "".join(f"    {line}\n" for line in body)
    return ScriptOp(StoredScript(f"{before}{head}{lines}", ["f"]), "f")


def call(shard: Shard, op: ScriptOp) -> Graphed:
    return shard.dag([X], [op], [1])


QUICK = entry("return x")
ENDLESS = {
    "tensors": entry("while bool(x.sum() > 0):", "    x = x + 1", "return x"),
    "numbers": entry("n = 0", "while len(args) == 0:", "    n += 1", "return x * n"),
    "nothing": entry("while True:", "    pass", "return x"),
    "for": entry("for _ in range(1 << 60):", "    x = x + 1", "return x"),
    "continued": entry(
        "while True:", "    if len(args) == 0:", "        continue", "    x = x + 1", "return x"
    ),
    "inner": entry(
        "for _ in range(3):", "    while True:", "        while True:", "            pass", "return x"
    ),
    "outer": entry(
        "while True:", "    for _ in range(3):", "        x = [y + 1 for y in [x]][0]", "return x"
    ),
    "called": entry("return g(x)", before="def g(x):\n    while True:\n        x = x + 1\n    return x\n"),
}


@pytest.mark.parametrize("op", ENDLESS.values(), ids=ENDLESS.keys())
def test_a_loop_without_end_ends_with_its_job(shard: Shard, op: ScriptOp) -> None:
    """Whoever comes next has its device, in the same process: one that has lost a device ends."""
    assert shard.compile(op.script) == OK
    for _ in range(3):  # torch compiles the first runs each in another way
        endless = shard.start_dag([X], [op], deadline_ms=100)
        assert b"the deadline passed" in shard.receive("DONE", endless)[2]
        assert call(shard, QUICK).wanted == [X]


def test_one_of_two_calls_of_a_function_ends_and_the_other_goes_on(shard: Shard) -> None:
    op = entry(
        "go = True", "while go:", "    go = isinstance(redis.execute('GO'), int)", "    x = x + 1", "return x"
    )
    ended, other = (shard.start_dag([X], [op], [1]) for _ in range(2))
    asked = {job: seq for seq, job, _ in (shard.asked("CALL") for _ in range(2))}
    shard.send("CANCEL", ended)
    shard.send("RESULT", asked[other], b":1\r\n")
    shard.send("RESULT", shard.asked("CALL")[0], OK)
    assert shard.finish_dag(other).wanted == [floats(1, 3, values=[3, 4, 5])]


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (("for n in range(10):", "    x = x + n", "return x"), [46, 47, 48]),
        (("for n in range(0):", "    x = x + n", "return x"), [1, 2, 3]),
        (("while bool(x.sum() < 100):", "    x = x * 2", "return x"), [32, 64, 96]),
        (
            ("while True:", "    x = x + 1", "    if bool(x[0, 0] > 9):", "        break", "return x"),
            [10, 11, 12],
        ),
        (("return torch.stack([y + 1 for y in x[0]]).reshape([1, 3])",), [2, 3, 4]),
    ],
)
def test_a_loop_gives_what_it_makes(shard: Shard, body: Sequence[str], values: Sequence[float]) -> None:
    for _ in range(3):
        assert call(shard, entry(*body)).wanted == [floats(1, 3, values=values)]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (("for n in range(9):", "    x = x + 1", "    assert n < 5, 'bad'", "return x"), 9),
        (("for n in range(9):", "    x = x + 1", "raise ValueError('bad')"), 9),
        (("while True:", "    x = g(x)", "return x"), 3),
    ],
)
def test_an_error_in_or_behind_a_loop_names_the_line_of_the_source(
    shard: Shard, body: Sequence[str], line: int
) -> None:
    before = "def g(x):\n    if bool(x.sum() > 20):\n        raise ValueError('bad')\n    return x + 1\n"
    assert f" in line {line} of f: ".encode() in call(shard, entry(*body, before=before)).ops[0].reply
