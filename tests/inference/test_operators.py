"""`redis` and `redisAI` in scripts: what they ask the shard, and what they make of its answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from inference.shard import Graphed, ModelOp, ScriptOp, Shard, StoredModel, StoredScript, floats

from keymiss.inference.operators import namespaces

Make = Callable[..., StoredModel]
X = floats(1, 3, values=[1, 2, 3])
OK = b"+OK\r\n"
NIL = b"$-1\r\n"


def script(*lines: str) -> ScriptOp:
    """A call of an entry point with this body, on X, the key `k` and the argument `a`."""
    body = "".join(f"    {line}\n" for line in lines)
    source = f"def f(tensors: List[Tensor], keys: List[str], args: List[str]):\n{body}"
    return ScriptOp(StoredScript(source, ["f"]), "f", keys=["k"], args=["a"])


def run(shard: Shard, op: ScriptOp, *replies: bytes) -> tuple[Graphed, list[list[bytes]]]:
    """What becomes of the op where its questions are answered so, and the questions."""
    job = shard.start_dag([X], [op], [1])
    asked = []
    for reply in replies:
        seq, asker, parts = shard.asked("CALL")
        assert asker == job
        asked.append(parts)
        shard.send("RESULT", seq, reply)
    return shard.finish_dag(job), asked


def seen(shard: Shard, reply: bytes, *lines: str) -> list[object]:
    """What the lines make of the reply `r` in the list of numbers `n`."""
    graphed, _ = run(
        shard, script("r = redis.execute('C')", "n: List[int] = []", *lines, "return torch.tensor(n)"), reply
    )
    assert graphed.ops[0].reply == OK
    assert graphed.wanted[0] is not None
    return list(graphed.wanted[0].values)


class TestExecute:
    def test_says_strings_numbers_and_lists_of_them(self, shard: Shard) -> None:
        body = "redis.execute('SET', keys[0], [args[0], 'b'], 7, 0.5, [1, 2])", "return tensors[0]"
        graphed, asked = run(shard, script(*body), OK)
        assert graphed.ops[0].reply == OK
        assert asked == [[b"SET", b"k", b"a", b"b", b"7", b"0.5", b"1", b"2"]]

    def test_runs_in_order_though_nothing_is_made_of_the_replies(self, shard: Shard) -> None:
        body = "redis.execute('A')", "redis.execute('B')", "redis.execute('A')", "return tensors[0]"
        assert run(shard, script(*body), OK, OK, OK)[1] == [[b"A"], [b"B"], [b"A"]]

    def test_takes_many_arguments(self, shard: Shard) -> None:
        assert run(shard, script(f"redis.execute('C'{', args[0]' * 63})", "return tensors[0]"), OK)[1] == [
            [b"C", *[b"a"] * 63]
        ]

    def test_more_arguments_need_a_list(self, shard: Shard) -> None:
        refused = shard.compile(script(f"redis.execute('C'{', args[0]' * 64})", "return tensors[0]").script)
        assert refused.startswith(b"-ERR the script does not compile: Arguments for call are not valid")

    def test_takes_nothing_else(self, shard: Shard) -> None:
        graphed, _ = run(shard, script("redis.execute('C', tensors[0])", "return tensors[0]"))
        assert b"redis.execute takes strings, numbers and lists of them, not a Tensor" in graphed.ops[0].reply

    def test_text_goes_as_utf8_with_its_nul_bytes(self, shard: Shard) -> None:
        op = script("redis.execute('SET', args[0])", "return tensors[0]")
        op.args = ["é\0x"]
        assert run(shard, op, OK)[1] == [[b"SET", "é\0x".encode()]]

    def test_bytes_that_are_no_utf8_cannot_be_said(self, shard: Shard) -> None:
        op = script("redis.execute('SET', args[0])", "return tensors[0]")
        op.args = [b"\xff"]
        assert b"must be UTF-8" in run(shard, op)[0].ops[0].reply

    def test_an_error_reply_ends_the_script_with_its_text(self, shard: Shard) -> None:
        graphed, _ = run(
            shard, script("redis.execute('LPUSH')", "return tensors[0]"), b"-WRONGTYPE no list\r\n"
        )
        assert graphed.ops[0].reply == b"-ERR the script failed in line 2 of f: WRONGTYPE no list\r\n"
        assert graphed.ops[0].counters == (1, 0, 1)

    def test_a_malformed_reply_ends_only_the_script(self, shard: Shard) -> None:
        graphed, _ = run(shard, script("redis.execute('C')", "return tensors[0]"), b"$5\r\nab")
        assert b"malformed reply" in graphed.ops[0].reply

    def test_a_result_that_nobody_asked_for_is_ignored(self, shard: Shard) -> None:
        shard.send("RESULT", 999_999, OK)
        assert run(shard, script("redis.execute('C')", "return tensors[0]"), OK)[0].ops[0].reply == OK

    @pytest.mark.parametrize("reply", [b"+OK\r\n", b"$2\r\nOK\r\n"])
    def test_a_status_and_a_string_are_str(self, shard: Shard, reply: bytes) -> None:
        assert seen(shard, reply, "if isinstance(r, str) and r == 'OK':", "    n.append(1)") == [1]

    def test_an_integer_is_int_and_nil_is_none(self, shard: Shard) -> None:
        assert seen(shard, b":42\r\n", "if isinstance(r, int):", "    n.append(r)") == [42]
        for nil in (NIL, b"*-1\r\n"):
            assert seen(shard, nil, "if isinstance(r, NoneType):", "    n.append(1)") == [1]

    def test_a_string_arrives_whole_whatever_bytes_it_holds(self, shard: Shard) -> None:
        lines = "if isinstance(r, str):", "    for c in r:", "        n.append(ord(c))"
        assert seen(shard, b"$4\r\na\0\xff\n\r\n", *lines) == [97, 0, 255, 10]


class TestAsList:
    EACH = (
        "for e in redis.asList(r):",
        "    if isinstance(e, int):",
        "        n.append(e)",
        "    elif isinstance(e, str):",
        "        n.append(1000 + len(e))",
        "    elif isinstance(e, NoneType):",
        "        n.append(-1)",
        "    else:",
        "        n.append(100 + len(redis.asList(e)))",
    )

    def test_gives_each_element_as_its_own_type(self, shard: Shard) -> None:
        reply = b"*6\r\n:7\r\n$2\r\nab\r\n$-1\r\n*2\r\n:1\r\n:2\r\n*0\r\n-ERR no\r\n"
        assert seen(shard, reply, *self.EACH) == [7, 1002, -1, 102, 100, 1006]

    def test_gives_strings_whole_whatever_bytes_they_hold(self, shard: Shard) -> None:
        assert seen(shard, b"*2\r\n$3\r\n\xff\0a\r\n*1\r\n$1\r\n\xfe\r\n", *self.EACH) == [1003, 101]

    def test_an_empty_array_is_an_empty_list(self, shard: Shard) -> None:
        assert seen(shard, b"*0\r\n", "n.append(len(redis.asList(r)))") == [0]

    def test_takes_arrays_only(self, shard: Shard) -> None:
        graphed, _ = run(shard, script("redis.asList(redis.execute('C'))", "return tensors[0]"), b":1\r\n")
        assert b"redis.asList takes an array reply, not a int" in graphed.ops[0].reply


class TestModelExecute:
    def of(self, model: StoredModel) -> bytes:
        """The RESULT of a MODEL."""
        return model.part()

    def run(self, shard: Shard, op: ScriptOp, reply: bytes) -> Graphed:
        job = shard.start_dag([X], [op], [1])
        seq, _, parts = shard.asked("MODEL")
        assert parts == [b"k"]
        shard.send("RESULT", seq, reply)
        return shard.finish_dag(job)

    EXECUTE = "return redisAI.model_execute(keys[0], tensors, 1)"

    @pytest.mark.parametrize("device", ["CPU", "CPU:1"])
    def test_runs_a_model_on_any_device(self, shard: Shard, model: Make, device: str) -> None:
        graphed = self.run(shard, script(self.EXECUTE), self.of(model("Linear", device=device)))
        assert graphed.wanted[0] is not None
        assert graphed.wanted[0].values == [4.0, 8.25]

    def test_does_not_wait_for_others_to_fill_a_batch(self, shard: Shard, model: Make) -> None:
        waiting = model("Linear", batchsize=9, minbatchsize=9, device="CPU:1")
        assert self.run(shard, script(self.EXECUTE), self.of(waiting)).ops[0].reply == OK

    def test_gives_each_output(self, shard: Shard, model: Make) -> None:
        op = script("r = redisAI.model_execute(keys[0], tensors, 2)", "return r[0] + r[1]")
        graphed = self.run(shard, op, self.of(model("Rows")))
        assert graphed.wanted[0] is not None
        assert graphed.wanted[0].values == [7.0]

    def test_the_model_cannot_change_the_tensors_of_the_script(self, shard: Shard, model: Make) -> None:
        op = script("redisAI.model_execute(keys[0], tensors, 1)", "return tensors[0]")
        graphed = self.run(shard, op, self.of(model("InPlace")))
        assert graphed.wanted[0] == X

    @pytest.mark.parametrize("device", ["CPU", "CPU:1"])
    def test_an_error_of_the_model_ends_the_script(self, shard: Shard, model: Make, device: str) -> None:
        graphed = self.run(shard, script(self.EXECUTE), self.of(model("Positive", device=device)))
        text = b"-ERR the script failed in line 2 of f: the model failed: ValueError: x is positive\r\n"
        assert graphed.ops[0].reply == text

    def test_wrong_numbers_of_tensors_are_told(self, shard: Shard, model: Make) -> None:
        graphed = self.run(shard, script(self.EXECUTE.replace("1)", "3)")), self.of(model("Linear")))
        assert b"Number of keys given as OUTPUTS here does not match" in graphed.ops[0].reply

    def test_a_model_that_is_not_there_is_the_shards_error(self, shard: Shard) -> None:
        graphed = self.run(shard, script(self.EXECUTE), b"-ERR model key is empty\r\n")
        assert b"ERR model key is empty" in graphed.ops[0].reply

    def test_a_dtype_that_no_key_can_hold_is_refused(self, shard: Shard) -> None:
        op = script("return redisAI.model_execute(keys[0], [tensors[0].half()], 1)")
        graphed = shard.dag([X], [op])
        assert b"input 1 of the model is float16" in graphed.ops[0].reply

    def test_a_stored_model_cannot_reach_the_shard(self, shard: Shard, model: Make) -> None:
        """Neither alone nor where a script runs it: the operators serve scripts."""
        namespaces(torch)  # as they are in the worker
        reaching = model("Reaching")
        assert shard.dag([X], [ModelOp(reaching)]).ops[0].reply.startswith(b"-ERR")
        graphed = self.run(shard, script(self.EXECUTE), self.of(reaching))
        assert graphed.ops[0].reply.startswith(b"-ERR")
