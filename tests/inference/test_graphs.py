"""DAGs in the models worker: order, failures, batches, devices side by side; and scripts that wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest
from inference.shard import ModelOp, ScriptOp, Shard, StoredModel, StoredScript, floats
from support.channel_end import PATIENCE_S
from support.waiting import wait_until

from keymiss.backends import Array, Device, Model
from keymiss.channel import NEVER
from keymiss.errors import ChannelError
from keymiss.inference.batcher import DeviceQueue
from keymiss.inference.frames import GraphParts
from keymiss.inference.policy import Rule
from keymiss.inference.request import Outcome, Request

Make = Callable[..., StoredModel]
OK, NA = b"+OK\r\n", b"+NA\r\n"
X = floats(1, 2, values=[1, 2])
SCRIPT = """\
def f(tensors: List[Tensor], keys: List[str], args: List[str]):
    return tensors[0] * 2
def ask(tensors: List[Tensor], keys: List[str], args: List[str]):
    redis.execute(args[0])
    return tensors[0]
"""


def script(function: str, *inputs: int, device: str = "CPU", args: Sequence[str] = ()) -> ScriptOp:
    return ScriptOp(StoredScript(SCRIPT, ["f", "ask"], device), function, inputs or (0,), args=args)


class TestOrder:
    def test_ops_see_what_ops_before_them_made(self, shard: Shard, model: Make) -> None:
        ops = [script("f"), ModelOp(model("Rows"), [1], 2), script("f", 2)]
        graphed = shard.dag([X], ops, [4, 1])
        assert [op.reply for op in graphed.ops] == [OK] * 3
        assert [tensor and tensor.values for tensor in graphed.wanted] == [[12.0], [2.0, 4.0]]

    def test_an_op_that_fails_takes_with_it_those_that_need_it_and_no_other(
        self, shard: Shard, model: Make
    ) -> None:
        refuses = ModelOp(model("Positive"))
        graphed = shard.dag([X], [refuses, script("f", 1), script("f", 2), script("f", 0)], [1, 2, 3, 4, 0])
        assert [op.reply for op in graphed.ops] == [
            b"-ERR the model failed: ValueError: x is positive\r\n",
            NA,
            NA,
            OK,
        ]
        assert [op.counters for op in graphed.ops] == [(1, 0, 1), (0, 0, 0), (0, 0, 0), (1, 1, 0)]
        assert [tensor is None for tensor in graphed.wanted] == [True, True, True, False, False]

    def test_an_op_that_needs_two_that_failed_fails_once(self, shard: Shard, model: Make) -> None:
        refuses = ModelOp(model("Positive"))
        both = ModelOp(model("Linear"), [1, 2])
        assert [op.reply for op in shard.dag([X], [refuses, refuses, both]).ops][2] == NA

    def test_numbers_of_tensors_that_do_not_fit_a_model_are_told_and_count_nowhere(
        self, shard: Shard, model: Make
    ) -> None:
        graphed = shard.dag([X], [ModelOp(model("Linear"), [0, 0]), ModelOp(model("Linear"), [0], 2)])
        error = b"-Number of keys given as %b here does not match model definition\r\n"
        assert [op.reply for op in graphed.ops] == [error % b"INPUTS", error % b"OUTPUTS"]
        assert {op.counters for op in graphed.ops} == {(0, 0, 0)}

    def test_a_script_that_does_not_compile_any_more_is_an_error_of_its_op(self, shard: Shard) -> None:
        graphed = shard.dag([X], [ScriptOp(StoredScript("def f("), "f"), script("f")])
        assert graphed.ops[0].reply.startswith(b"-ERR the script does not compile")
        assert graphed.ops[0].counters == (1, 0, 1)
        assert graphed.ops[1].reply == OK

    def test_a_dag_without_ops_gives_what_it_was_given(self, shard: Shard) -> None:
        assert shard.dag([X], [], [0]).wanted == [X]

    def test_many_ops_in_a_row(self, shard: Shard) -> None:
        graphed = shard.dag([floats(1, values=[1])], [script("f", n) for n in range(20)], [20])
        assert graphed.wanted[0] == floats(1, values=[2**20])


class TestFrames:
    def frame(self, model: Make) -> list[bytes]:
        ops = [ModelOp(model("Rows", tag="t"), [0], 2), script("ask", 1, args=["a"])]
        parts = [1, *X.parts(), 2, *ops[0].parts(), *ops[1].parts(), 2, 0, 3]
        return [part if isinstance(part, bytes) else str(part).encode() for part in parts]

    def test_a_frame_that_is_cut_short_is_malformed(self, model: Make) -> None:
        frame = self.frame(model)
        assert len(GraphParts.parse(frame, 0).ops) == 2
        for length in range(len(frame)):
            with pytest.raises(ChannelError):
                GraphParts.parse(frame[:length], 0)

    @pytest.mark.parametrize("inputs", [[1], [-1], [9]])
    def test_an_op_cannot_need_what_is_not_made_before_it(self, model: Make, inputs: list[int]) -> None:
        parts = [1, *X.parts(), 1, *ModelOp(model("Rows"), inputs).parts(), 0]
        with pytest.raises(ChannelError, match="not made before it"):
            GraphParts.parse([part if isinstance(part, bytes) else str(part).encode() for part in parts], 0)


class TestBatches:
    def test_an_op_joins_a_request_of_another_client(self, shard: Shard, model: Make) -> None:
        rows = model("Rows", batchsize=2, minbatchsize=2)
        dag = shard.start_dag([X], [ModelOp(rows, outputs=2)], [1, 2])
        alone = shard.run(rows, [floats(1, 2, values=[3, 4])], 2)
        graphed = shard.finish_dag(dag)
        assert [tensor and tensor.values for tensor in graphed.wanted] == [[3.0], [2.0]]
        assert [tensor.values for tensor in alone.outputs] == [[7.0], [2.0]]
        assert (graphed.ops[0].counters, alone.counters) == ((1, 1, 0), (0, 1, 0))

    def test_two_ops_of_one_dag_run_as_one_batch(self, shard: Shard, model: Make) -> None:
        op = ModelOp(model("Rows", batchsize=2, minbatchsize=2), outputs=2)
        assert [op.counters for op in shard.dag([X], [op, op]).ops] == [(1, 1, 0), (0, 1, 0)]

    def test_a_cancelled_dag_leaves_the_batch(self, shard: Shard, model: Make) -> None:
        rows = model("Rows", batchsize=2, minbatchsize=2)
        gone = shard.start_dag([X], [ModelOp(rows, outputs=2)])
        shard.send("CANCEL", gone)
        first = shard.start(rows, [X], 2)
        assert shard.silent_for(0.1, "DONE", first)
        shard.run(rows, [X], 2)
        assert shard.finish(first).reply == OK


class Meeting(Model):
    """A model that ends only when another one runs at the same time."""

    inputs, outputs, weight_bytes, mapped_bytes = ("x",), ("y",), 0, 0

    def __init__(self, met: threading.Barrier) -> None:
        self._met = met

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        self._met.wait(PATIENCE_S)
        return list(tensors)


class Lending(Model):
    """A model that lends its device until something has happened."""

    inputs, outputs, weight_bytes, mapped_bytes = ("x",), ("y",), 0, 0

    def __init__(self, queue: DeviceQueue, happened: threading.Event) -> None:
        self._queue, self._happened = queue, happened

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        with self._queue.lent():
            assert self._happened.wait(PATIENCE_S)
        return list(tensors)


class Counting(Model):
    """How many of it run at the same time, at most; and how often it ran."""

    inputs, outputs, weight_bytes, mapped_bytes = ("x",), ("y",), 0, 0

    def __init__(self) -> None:
        self._now = 0
        self.most = self.runs = 0

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        self._now += 1
        self.runs += 1
        self.most = max(self.most, self._now)
        threading.Event().wait(0.001)
        self._now -= 1
        return list(tensors)


class TestDevices:
    def submit(self, queue: DeviceQueue, model: Model) -> list[Outcome]:
        """Where the outcome goes when it is there."""
        outcomes: list[Outcome] = []
        queue.submit(Request(model, id(model), Rule(), [X], NEVER, outcomes.append, lambda: False))
        return outcomes

    def test_cpu_and_cpu_1_are_devices_of_their_own(self) -> None:
        assert Device.parse("cpu:0") == Device.parse("CPU") != Device.parse("CPU:1")

    def test_two_devices_run_at_the_same_time(self) -> None:
        met = threading.Barrier(2)
        pending = [self.submit(DeviceQueue(name), Meeting(met)) for name in ("CPU", "CPU:1")]
        wait_until(lambda: all(pending), PATIENCE_S, "both have met")
        assert [outcomes[0].error for outcomes in pending] == [None, None]

    def test_ops_on_two_devices_run_side_by_side(self, shard: Shard, model: Make) -> None:
        """The script asks its shard while the model, which was begun before it, still runs."""
        steps = ModelOp(model("Steps"))
        shard.load(steps.model)
        shard.compile(script("ask", device="CPU:1").script)
        dag = shard.start_dag(
            [floats(1, values=[60_000])], [steps, script("ask", device="CPU:1", args=["A"])]
        )
        seq, job, _ = shard.asked("CALL")
        assert (job, any(frame[0] == b"DONE" for frame in shard.unread)) == (dag, False)
        shard.send("RESULT", seq, OK)
        assert [op.reply for op in shard.finish_dag(dag).ops] == [OK, OK]

    def test_many_that_wait_lend_one_device_and_it_runs_one_thing_at_a_time(self) -> None:
        queue, happened, counting = DeviceQueue("CPU"), threading.Event(), Counting()
        lending = [self.submit(queue, Lending(queue, happened)) for _ in range(20)]
        counted = [self.submit(queue, counting) for _ in range(20)]
        wait_until(lambda: all(counted), PATIENCE_S, "what does not wait has run")
        assert not any(lending)
        happened.set()
        counted += [self.submit(queue, counting) for _ in range(20)]
        wait_until(lambda: all(lending) and all(counted), PATIENCE_S, "all have run")
        assert (counting.most, counting.runs) == (1, 40)
        assert {outcomes[0].error for outcomes in lending} == {None}

    def test_threads_that_are_not_needed_any_more_end(self) -> None:
        queue, happened = DeviceQueue("threads"), threading.Event()
        lending = [self.submit(queue, Lending(queue, happened)) for _ in range(20)]
        wait_until(lambda: self.threads("threads") > 20, PATIENCE_S, "each has a thread")
        happened.set()
        wait_until(lambda: all(lending) and self.threads("threads") <= 3, PATIENCE_S, "they have ended")
        after = self.submit(queue, Counting())
        wait_until(lambda: after, PATIENCE_S, "the device goes on")

    @staticmethod
    def threads(device: str) -> int:
        return sum(thread.name == f"device {device}" for thread in threading.enumerate())


class TestScriptsThatWait:
    def start(self, shard: Shard, *more: ScriptOp, deadline_ms: int = 0) -> tuple[int, int]:
        """A DAG whose script waits for its shard: the numbers of its job and of its question."""
        job = shard.start_dag([X], [script("ask", args=["A"]), *more], deadline_ms=deadline_ms)
        seq, asker, _ = shard.asked("CALL")
        assert asker == job
        return job, seq

    def test_a_model_runs_on_the_device_of_a_script_that_waits(self, shard: Shard, model: Make) -> None:
        """The shard's main thread may itself wait for it, and answer no script before."""
        job, seq = self.start(shard)
        assert shard.run(model("Rows"), [X], 2).reply == OK
        shard.send("RESULT", seq, OK)
        assert shard.finish_dag(job).ops[0].reply == OK

    def test_answers_may_come_in_any_order(self, shard: Shard) -> None:
        first, second = self.start(shard), self.start(shard)
        for job, seq in (second, first):
            shard.send("RESULT", seq, OK)
            assert shard.finish_dag(job).ops[0].reply == OK

    def test_a_cancelled_dag_ends_its_script_and_begins_no_other(self, shard: Shard) -> None:
        job, seq = self.start(shard, script("ask", 1, args=["B"]))
        shard.send("CANCEL", job)
        shard.send("RESULT", seq, OK)
        other, its_seq = self.start(shard)
        shard.send("RESULT", its_seq, OK)
        shard.finish_dag(other)
        assert shard.silent_for(0.1, "CALL", its_seq + 1)

    def test_a_deadline_ends_a_script_that_waits(self, shard: Shard) -> None:
        job, seq = self.start(shard, deadline_ms=100)
        assert b"the deadline passed" in shard.receive("DONE", job)[2]
        shard.send("RESULT", seq, OK)
        assert shard.dag([X], [script("f")]).ops[0].reply == OK

    def test_a_dag_whose_time_passes_in_the_queue_is_not_begun(self, shard: Shard, model: Make) -> None:
        shard.load(model("Steps"))
        busy = shard.start(model("Steps"), [floats(1, values=[100_000])])
        late = shard.start_dag([X], [script("ask", args=["A"])], deadline_ms=1)
        assert b"the deadline passed" in shard.receive("DONE", late)[2]
        assert shard.finish(busy).reply == OK
        assert shard.silent_for(0.1, "CALL", 0)
