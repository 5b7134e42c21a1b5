"""A models worker over its channel: what it loads, what it refuses, what it answers."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pytest
import torch
from inference import small_models
from inference.shard import Shard, StoredModel, floats
from onnx import TensorProto
from support.channel_end import child_worker

from keymiss.channel import Tensor

OK = b"+OK\r\n"
Make = Callable[..., StoredModel]


def blob(folder: Path, content: bytes, backend: str = "TORCH") -> StoredModel:
    file = folder / "blob"
    file.write_bytes(content)
    return StoredModel(file, backend)


class TestLoad:
    def test_tells_the_names_that_torch_has(self, shard: Shard, model: Make) -> None:
        assert shard.load(model("Rows")) == [OK, b"1", b"x", b"2", b"", b""]

    def test_tells_the_names_that_onnx_has(self, shard: Shard, tmp_path: Path) -> None:
        linear = StoredModel(small_models.write_onnx_linear(tmp_path / "m.onnx"), "ONNX")
        assert shard.load(linear) == [OK, b"1", b"x", b"1", b"y"]

    @pytest.mark.parametrize("content", [b"", b"abc", b"this is not a model\0" * 5, b"PK\3\4" + bytes(500)])
    @pytest.mark.parametrize("backend", ["TORCH", "ONNX"])
    def test_refuses_what_is_no_model(
        self, shard: Shard, tmp_path: Path, content: bytes, backend: str
    ) -> None:
        reply, *names = shard.load(blob(tmp_path, content, backend))
        assert reply.startswith(b"-ERR the blob is no ")
        assert names == [b"0", b"0"]

    def test_refuses_half_a_model(self, shard: Shard, model: Make, tmp_path: Path) -> None:
        whole = model("Linear").path.read_bytes()
        reply, *_ = shard.load(blob(tmp_path, whole[: len(whole) // 2]))
        assert reply.startswith(b"-ERR the blob is no TorchScript archive")

    def test_takes_a_model_with_bytes_behind_it(self, shard: Shard, model: Make, tmp_path: Path) -> None:
        assert shard.load(blob(tmp_path, model("Linear").path.read_bytes() + b"garbage"))[0] == OK

    def test_never_unpickles_a_checkpoint(self, shard: Shard, tmp_path: Path) -> None:
        witness = tmp_path / "witness"

        class Evil:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return os.mkdir, (str(witness),)

        torch.save({"w": Evil()}, tmp_path / "checkpoint.pt")
        reply, *_ = shard.load(StoredModel(tmp_path / "checkpoint.pt"))
        assert b"checkpoint of torch.save" in reply
        assert shard.load(blob(tmp_path, pickle.dumps(Evil())))[0].startswith(b"-ERR")
        assert not witness.exists()

    def test_refuses_code_that_opens_files(self, shard: Shard, model: Make) -> None:
        assert b"opens files" in shard.load(model("Saves"))[0]

    def test_says_which_backends_there_are(self, shard: Shard, model: Make) -> None:
        reply, *_ = shard.load(model("Linear", backend="CAFFE"))
        known = b"TORCH, ONNX, TF, TFLITE, OPENVINO"
        assert reply == b"-ERR Could not load backend CAFFE: this version has " + known + b"\r\n"

    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
    def test_says_that_there_is_no_gpu(self, shard: Shard, model: Make) -> None:
        assert shard.load(model("Linear", device="GPU:1"))[0].startswith(b"-ERR GPU:1 requested but")

    @pytest.mark.parametrize("device", ["CPU", "cpu", "CPU:0", "Cpu:1"])
    def test_knows_one_cpu_by_every_name(self, shard: Shard, model: Make, device: str) -> None:
        assert shard.load(model("Linear", device=device))[0] == OK


class TestRun:
    def test_gives_the_outputs_and_counts(self, shard: Shard, model: Make) -> None:
        ran = shard.run(model("Linear"), [floats(1, 3, values=[1, 2, 3])])
        assert ran.reply == OK
        assert ran.outputs == [floats(1, 2, values=[4, 8.25])]
        assert ran.counters == (1, 1, 0)
        assert ran.duration_us > 0

    def test_runs_onnx(self, shard: Shard, tmp_path: Path) -> None:
        linear = StoredModel(small_models.write_onnx_linear(tmp_path / "m.onnx"), "ONNX")
        ran = shard.run(linear, [floats(2, 3, values=[1, 2, 3, 0, 0, 0])])
        assert ran.outputs == [floats(2, 2, values=[4, 8.25, 0.5, -2])]
        assert ran.counters == (1, 2, 0)

    @pytest.mark.parametrize(
        ("dtype", "values"),
        [
            ("FLOAT", [1.5, -2]),
            ("DOUBLE", [1.5, -2]),
            ("INT8", [-128, 127]),
            ("INT16", [-32768, 7]),
            ("INT32", [-1, 7]),
            ("INT64", [-(2**63), 2**63 - 1]),
            ("UINT8", [0, 255]),
            ("UINT16", [0, 65535]),
            ("BOOL", [True, False]),
            ("STRING", [b"", "č".encode()]),
        ],
    )
    def test_onnx_knows_every_dtype(
        self, shard: Shard, tmp_path: Path, dtype: str, values: list[float | bytes]
    ) -> None:
        kind = getattr(TensorProto, dtype)
        echo = StoredModel(small_models.write_onnx_echo(tmp_path / "m.onnx", kind), "ONNX")
        given = Tensor.from_values(dtype, [2], values)
        assert shard.run(echo, [given]).outputs == [given]

    def test_counts_rows_as_samples(self, shard: Shard, model: Make) -> None:
        assert shard.run(model("Linear"), [floats(4, 3, values=[0] * 12)]).counters == (1, 4, 0)

    def test_loads_a_model_that_it_does_not_know_yet(self, shard: Shard, model: Make, tmp_path: Path) -> None:
        fresh = blob(tmp_path, model("Linear").path.read_bytes() + b"another digest")
        assert shard.run(fresh, [floats(1, 3, values=[1, 2, 3])]).reply == OK

    def test_tells_what_went_wrong_in_one_line(self, shard: Shard, model: Make) -> None:
        ran = shard.run(model("Linear"), [floats(1, 4, values=[1, 2, 3, 4])])
        expected = b"-ERR the model failed: mat1 and mat2 shapes cannot be multiplied (1x4 and 3x2)\r\n"
        assert ran.reply == expected
        assert (ran.duration_us, *ran.counters) == (0, 1, 0, 1)

    def test_tells_what_the_model_raised(self, shard: Shard, model: Make) -> None:
        ran = shard.run(model("Positive"), [floats(1, 1, values=[1])])
        assert ran.reply == b"-ERR the model failed: ValueError: x is positive\r\n"

    def test_serves_on_after_an_error(self, shard: Shard, model: Make) -> None:
        shard.run(model("Positive"), [floats(1, 1, values=[1])])
        assert shard.run(model("Positive"), [floats(1, 1, values=[-1])]).reply == OK

    def test_refuses_an_output_that_no_key_can_hold(self, shard: Shard, model: Make) -> None:
        reply = shard.run(model("Half"), [floats(1, values=[1])]).reply
        assert reply.startswith(b"-ERR output 1 of the model is float16, which no tensor key can hold")

    def test_refuses_strings_for_torch(self, shard: Shard, model: Make) -> None:
        strings = Tensor.from_values("STRING", [1], [b"a"])
        assert b"takes no STRING tensors" in shard.run(model("Linear"), [strings]).reply

    def test_counts_nothing_where_the_number_of_inputs_is_wrong(self, shard: Shard, model: Make) -> None:
        x = floats(1, 3, values=[1, 2, 3])
        ran = shard.run(model("Linear"), [x, x])
        assert ran.reply == b"-Number of keys given as INPUTS here does not match model definition\r\n"
        assert ran.counters == (0, 0, 0)

    def test_counts_nothing_where_the_number_of_outputs_is_wrong(self, shard: Shard, model: Make) -> None:
        ran = shard.run(model("Linear"), [floats(1, 3, values=[1, 2, 3])], outputs=2)
        assert ran.reply == b"-Number of keys given as OUTPUTS here does not match model definition\r\n"

    def test_a_scalar_goes_in_and_comes_out(self, shard: Shard, model: Make) -> None:
        scalar = Tensor("FLOAT", (), pack("<f", 3))
        assert shard.run(model("Sum"), [scalar]).outputs == [scalar]

    def test_an_empty_tensor_goes_in(self, shard: Shard, model: Make) -> None:
        assert shard.run(model("Sum"), [floats(0, 3, values=[])]).outputs[0].values == [0.0]


class TestWhileAModelRuns:
    def test_ping_is_answered(self, shard: Shard, model: Make) -> None:
        job = shard.start(model("Steps"), [floats(1, values=[100_000])])
        shard.send("PING")
        shard.receive("PONG")
        assert shard.silent_for(0.01, "DONE", job)
        assert shard.finish(job).reply == OK

    def test_a_job_whose_deadline_passes_is_never_run(self, shard: Shard, model: Make) -> None:
        long = shard.start(model("Steps"), [floats(1, values=[100_000])])
        late = shard.start(model("Positive"), [floats(1, 1, values=[1])], deadline_ms=1)
        assert b"deadline" in shard.receive("DONE", late)[2]
        assert shard.finish(long).reply == OK

    def test_a_cancelled_job_is_not_answered(self, shard: Shard, model: Make) -> None:
        long = shard.start(model("Steps"), [floats(1, values=[100_000])])
        unwanted = shard.start(model("Linear"), [floats(1, 3, values=[1, 2, 3])])
        shard.send("CANCEL", unwanted)
        assert shard.finish(long).reply == OK
        shard.run(model("Linear"), [floats(1, 3, values=[1, 2, 3])])
        assert all(frame[1] != str(unwanted).encode() for frame in shard.unread if frame[0] == b"DONE")

    def test_models_take_turns(self, shard: Shard, model: Make) -> None:
        """Many jobs of one model do not make another model's job wait for all of them."""
        crowd = [shard.start(model("Steps"), [floats(1, values=[20_000])]) for _ in range(10)]
        single = shard.start(model("Linear"), [floats(1, 3, values=[1, 2, 3])])
        shard.finish(single)
        answered = sum(frame[0] == b"DONE" for frame in shard.unread)
        assert answered <= 3
        assert all(shard.finish(job).reply == OK for job in crowd)


def test_weights_are_pages_of_the_file(shard: Shard, model: Make) -> None:
    """Also where a tensor is shared, and a buffer is written to by the model: the file stays as it is."""
    wide = model("Wide")
    before = wide.path.read_bytes()
    x = [floats(1, 512, values=[0.0] * 512)]
    outputs = [shard.run(wide, x).outputs[0].values[0] for _ in range(2)]
    assert outputs[1] == pytest.approx(float(outputs[0]) + 1)
    assert wide.path.read_bytes() == before


def test_states_that_begin_equal_stay_apart(shard: Shard, model: Make) -> None:
    ran = shard.run(model("States"), [floats(1, values=[1])], 3)
    assert [output.values for output in ran.outputs] == [[1.0], [2.0], [1.0]]


def test_a_frame_that_is_malformed_ends_the_channel(model: Make) -> None:
    with child_worker() as (ours, worker):
        own = Shard(ours)
        own.job("RUN", str(model("Linear").path), "digest", "TORCH")
        with pytest.raises(ConnectionError):
            own.receive("DONE")
        assert worker.wait(10) == 1
