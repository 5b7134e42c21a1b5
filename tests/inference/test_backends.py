"""What each backend takes, gives and refuses, in a models worker over its channel. TORCH is in
test_models_worker.
"""

from __future__ import annotations

import gc
import io
import os
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from inference import small_models
from inference.second_form import DEADLINE_S, run_beside_another
from inference.shard import Shard, StoredModel, floats
from onnx import TensorProto, helper
from support import graph_defs as tf
from support import tflite_models as lite
from support.channel_end import child_worker
from support.waiting import wait_until

from keymiss.backends import Backends, Device
from keymiss.backends.openvino import PRECISION_HINT, RUNTIME_OPTIONS, own_options
from keymiss.backends.tf_operators import ALLOWED
from keymiss.channel import Tensor
from keymiss.errors import BackendMissing

OK = b"+OK\r\n"
Store = Callable[..., StoredModel]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """store(blob, "TF", inputs=["a"], outputs=["y"]): the blob as a stored model."""

    def write(
        blob: bytes, backend: str, inputs: Sequence[str] = (), outputs: Sequence[str] = (), **options: str
    ) -> StoredModel:
        file = tmp_path / f"blob-{len(list(tmp_path.iterdir()))}"
        file.write_bytes(blob)
        return StoredModel(file, backend, names=(inputs, outputs), **options)  # type: ignore[arg-type]

    return write


def error_of(shard: Shard, model: StoredModel) -> str:
    """Why the model cannot be loaded; it names nothing then."""
    reply, *names = shard.load(model)
    assert reply.startswith(b"-ERR ") and reply.count(b"\n") == 1, reply
    assert names == [b"0", b"0"]
    return reply.decode().strip()


def failure_of(shard: Shard, model: StoredModel, *tensors: Tensor) -> str:
    """Why a forward pass of the model fails, in one line."""
    ran = shard.run(model, tensors, len(model.names[1]) or 1)
    assert ran.reply.startswith(b"-ERR ") and ran.reply.count(b"\n") == 1, ran.reply
    assert (ran.calls, ran.errors) == (1, 1)
    return ran.reply.decode().strip()


def strings(*values: bytes) -> Tensor:
    return Tensor.from_values("STRING", [len(values)], list(values))


class TestAllBackends:
    NOT_MODELS = (
        b"",
        b"abc",
        b"this is not a model\0" * 5,
        b"PK\3\4" + bytes(500),
        os.urandom(300),
        bytes(64),
    )

    @pytest.mark.parametrize("backend", ["TF", "TFLITE", "OPENVINO", "ONNX"])
    def test_what_is_no_model_is_refused(self, shard: Shard, store: Store, backend: str) -> None:
        names = (["a"], ["b"]) if backend == "TF" else ((), ())
        for blob in self.NOT_MODELS:
            assert "the blob is no " in error_of(shard, store(blob, backend, *names)), blob

    @pytest.mark.parametrize("backend", ["TF", "TFLITE", "OPENVINO", "ONNX"])
    def test_a_device_that_is_not_there_is_named(self, shard: Shard, store: Store, backend: str) -> None:
        error = error_of(shard, store(b"any", backend, device="GPU:7"))
        assert error == f"-ERR GPU:7 requested but the {backend} backend finds only CPU here"

    @pytest.mark.parametrize("backend", ["TF", "TFLITE", "OPENVINO", "ONNX"])
    def test_pickled_python_is_never_loaded(
        self, shard: Shard, store: Store, tmp_path: Path, backend: str
    ) -> None:
        witness = tmp_path / "witness"

        class Evil:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return os.mkdir, (str(witness),)

        payload = pickle.dumps(Evil())
        keras = zipped(
            {"config.json": b'{"class_name": "Lambda"}', "model.weights.h5": b"", "data.pkl": payload}
        )
        for blob in (payload, keras, zipped({"archive/data.pkl": payload, "archive/constants.pkl": payload})):
            error_of(shard, store(blob, backend, ["a"], ["b"]))
        assert not witness.exists()

    def test_a_backend_that_is_not_installed_names_the_command_that_installs_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backends = Backends(1)
        for name, library, extra in [
            ("TF", "tensorflow", "tf"),
            ("TFLITE", "ai_edge_litert", "tflite"),
            ("OPENVINO", "openvino", "openvino"),
            ("ONNX", "onnxruntime", "onnx"),
            ("TORCH", "torch", "torch"),
        ]:
            monkeypatch.setitem(sys.modules, library, None)  # an import of it fails from now on
            with pytest.raises(BackendMissing, match=rf"has no {library} .*pip install 'keymiss\[{extra}\]'"):
                backends[name]


@pytest.fixture
def fresh_shard() -> Iterator[tuple[Shard, int]]:
    """A channel to a worker of the test's own, and its pid."""
    with child_worker() as (ours, worker):
        yield Shard(ours), worker.pid


def test_a_library_is_loaded_by_the_first_model_that_needs_it(
    fresh_shard: tuple[Shard, int], store: Store
) -> None:
    shard, pid = fresh_shard
    maps = Path(f"/proc/{pid}/maps")
    libraries = ("torch", "onnxruntime", "tensorflow", "ai_edge_litert", "openvino")

    def loaded() -> list[str]:
        text = maps.read_text()
        return [name for name in libraries if f"-packages/{name}/" in text]

    assert loaded() == []
    assert shard.load(store(lite.sum_and_product(), "TFLITE"))[0] == OK
    assert loaded() == ["ai_edge_litert"]
    assert shard.load(store(small_models.onnx_linear(), "OPENVINO"))[0] == OK
    assert loaded() == ["ai_edge_litert", "openvino"]


class TestTensorFlow:
    A, B = floats(1, 2, values=[2, 3]), floats(1, 2, values=[4, 5])

    def test_runs_a_graph_by_the_names_given(self, shard: Shard, store: Store) -> None:
        model = store(tf.product(), "TF", ["a", "b:0"], ["mul:0"])
        assert shard.load(model) == [OK, b"2", b"a", b"b:0", b"1", b"mul:0"]
        ran = shard.run(model, [self.A, self.B])
        assert ran.outputs == [floats(1, 2, values=[8, 15])]
        assert ran.counters == (1, 1, 0)

    def test_the_same_graph_with_other_names_is_another_model(self, shard: Shard, store: Store) -> None:
        assert shard.run(store(tf.product(), "TF", ["a", "b"], ["mul"]), [self.A, self.B]).reply == OK
        swapped = store(tf.product(), "TF", ["b"], ["b"])
        assert shard.run(swapped, [self.A]).outputs == [self.A]

    def test_an_output_may_be_any_of_a_node(self, shard: Shard, store: Store) -> None:
        graph = tf.graph(
            tf.placeholder("x", tf.FLOAT, None, 4),
            tf.constant("axis", 1, "int32"),
            tf.node("halves", "Split", "axis", "x", num_split=2, T=tf.FLOAT),
        )
        model = store(graph, "TF", ["x"], ["halves:1", "halves"])
        ran = shard.run(model, [floats(1, 4, values=[1, 2, 3, 4])], outputs=2)
        assert ran.outputs == [floats(1, 2, values=[3, 4]), floats(1, 2, values=[1, 2])]
        assert "'halves' has 2 outputs" in error_of(shard, store(graph, "TF", ["x"], ["halves:2"]))
        assert "none is 'halves:x'" in error_of(shard, store(graph, "TF", ["x"], ["halves:x"]))

    def test_a_name_that_is_not_in_the_graph_is_told(self, shard: Shard, store: Store) -> None:
        error = error_of(shard, store(tf.product(), "TF", ["a", "c"], ["mul"]))
        assert error == "-ERR the graph has no node 'c' for the input 'c'; its placeholders are a, b"
        assert "no node 'no' for the output" in error_of(shard, store(tf.product(), "TF", ["a", "b"], ["no"]))
        assert "the same tensor" in error_of(shard, store(tf.product(), "TF", ["a", "a:0"], ["mul"]))

    def test_an_input_that_was_not_named_is_told(self, shard: Shard, store: Store) -> None:
        assert "placeholder tensor 'b'" in failure_of(
            shard, store(tf.product(), "TF", ["a"], ["mul"]), self.A
        )

    def test_tensors_that_do_not_fit_are_told(self, shard: Shard, store: Store) -> None:
        model = store(tf.product(), "TF", ["a", "b"], ["mul"])
        wide = floats(1, 3, values=[1, 2, 3])
        expected = "input 'a' of the model takes the shape (any, 2), and the tensor has (1, 3)"
        assert expected in failure_of(shard, model, wide, self.B)
        double = Tensor.from_values("DOUBLE", [1, 2], [1, 2])
        expected = "input 'b' of the model takes float32, and the tensor is float64"
        assert expected in failure_of(shard, model, self.A, double)
        two, three = (floats(rows, 2, values=[0] * 2 * rows) for rows in (2, 3))
        assert "Incompatible shapes: [2,2] vs. [3,2]" in failure_of(shard, model, two, three)
        assert shard.run(model, [self.A, self.B]).reply == OK

    @pytest.mark.parametrize(
        ("kind", "given"),
        [
            (tf.STRING, strings(b"a", b"", b"\xff")),
            (tf.BOOL, Tensor.from_values("BOOL", [2], [True, False])),
            (tf.INT64, Tensor.from_values("INT64", [2], [-(2**63), 2**63 - 1])),
            (tf.DOUBLE, Tensor.from_values("DOUBLE", [], [0.1])),
            (tf.STRING, Tensor.from_values("STRING", [], [b"one"])),
            (tf.FLOAT, floats(0, 3, values=[])),
        ],
    )
    def test_gives_back_what_it_was_given(
        self, shard: Shard, store: Store, kind: tf.Kind, given: Tensor
    ) -> None:
        graph = tf.graph(tf.node("x", "Placeholder", dtype=kind), tf.node("y", "Identity", "x", T=kind))
        assert shard.run(store(graph, "TF", ["x"], ["y"]), [given]).outputs == [given]

    def test_a_dtype_that_no_key_can_hold_is_refused(self, shard: Shard, store: Store) -> None:
        cast = tf.node("y", "Cast", "x", SrcT=tf.FLOAT, DstT=tf.HALF)
        graph = tf.graph(tf.placeholder("x", tf.FLOAT, None), cast)
        error = error_of(shard, store(graph, "TF", ["x"], ["y"]))
        assert error.startswith("-ERR output 1 of the model is float16, which no tensor key can hold")

    def test_a_graph_with_variables_is_to_be_frozen(self, shard: Shard, store: Store) -> None:
        graph = tf.graph(tf.node("v", "VarHandleOp"), tf.node("y", "ReadVariableOp", "v", dtype=tf.FLOAT))
        assert "freeze it first" in error_of(shard, store(graph, "TF", ["v"], ["y"]))
        saved_model = b"\x08\x01\x12\x04\x0a\x02\x0a\x00"
        assert "the blob is a SavedModel" in error_of(shard, store(saved_model, "TF", ["v"], ["y"]))

    def test_a_graph_that_opens_files_or_runs_python_is_refused(
        self, shard: Shard, store: Store, tmp_path: Path
    ) -> None:
        """Also where the node is not needed, or is hidden in a function."""
        x = tf.placeholder("x", tf.FLOAT, None)
        secret, stolen = tf.text("n", b"/etc/passwd"), tf.text("n", str(tmp_path / "stolen").encode())
        graphs = {
            "ReadFile": tf.graph(x, secret, tf.node("y", "ReadFile", "n")),
            "WriteFile": tf.graph(x, stolen, tf.node("y", "WriteFile", "n", "n")),
            "EagerPyFunc": tf.graph(x, tf.node("y", "EagerPyFunc", token=b"pyfunc_0")),
            "DebugIdentity": tf.graph(x, tf.node("y", "DebugIdentity", "x", T=tf.FLOAT)),
            "ImmutableConst": tf.graph(x, tf.node("y", "ImmutableConst", dtype=tf.FLOAT, shape=(1,))),
            "MatchingFiles": tf.graph(x, functions=tf.one_function("f", tf.node("y", "MatchingFiles", "n"))),
            "Abort": tf.graph(x, tf.node("y", "Abort")),
            "NoSuchOperator": tf.graph(x, tf.node("y", "NoSuchOperator")),
        }
        for operator, graph in graphs.items():
            expected = f"-ERR the graph uses {operator}, which a stored graph may not"
            assert error_of(shard, store(graph, "TF", ["x"], ["x"])) == expected
        assert not (tmp_path / "stolen").exists()

    def test_what_is_allowed_opens_nothing_and_keeps_nothing(self) -> None:
        """Families of operators that never belong in the list, by their names."""
        families = (
            "File Save Restore Reader Func Dataset Iterator Print Debug Send Recv Queue VariableOp Variable2"
        )
        families += (
            " Summary Collective Abort Immutable Proto Xla Tpu Table Barrier Stage Send Recv Remote Resource"
        )
        assert [name for name in ALLOWED if any(part in name for part in families.split())] == []


class TestTfLite:
    A, B = floats(3, 2, values=[1, 2, 3, 4, 5, 6]), floats(3, 2, values=[2] * 6)

    def test_runs_rows_of_any_number(self, shard: Shard, store: Store) -> None:
        model = store(lite.sum_and_product(), "TFLITE")
        assert shard.load(model) == [OK, b"2", b"a", b"b", b"2", b"sum", b"product"]
        for rows in (3, 1, 2):
            a, b = (floats(rows, 2, values=tensor.values[: rows * 2]) for tensor in (self.A, self.B))
            ran = shard.run(model, [a, b], outputs=2)
            assert ran.outputs[1].values == [2.0 * x for x in a.values]  # type: ignore[operator]
            assert ran.outputs[0].shape == (rows, 2)
            assert ran.counters == (1, rows, 0)

    def test_tensors_that_do_not_fit_are_told_and_change_nothing(self, shard: Shard, store: Store) -> None:
        model = store(lite.sum_and_product(), "TFLITE")
        good = shard.run(model, [self.A, self.B], outputs=2)
        bad = shard.run(model, [self.A, floats(2, 2, values=[1] * 4)], outputs=2)
        assert bad.reply.startswith(b"-ERR the model failed: ")
        double = Tensor.from_values("DOUBLE", [1, 2], [1, 2])
        ran = shard.run(model, [double, self.B], outputs=2)
        assert ran.reply == b"-ERR input 'a' of the model takes float32, and the tensor is float64\r\n"
        assert shard.run(model, [self.A, self.B], outputs=2).outputs == good.outputs

    def test_strings_and_booleans(self, shard: Shard, store: Store) -> None:
        tensors = [("x", lite.STRING, (-1,)), ("at", lite.INT32, (-1,)), ("y", lite.STRING, (-1,))]
        pick = store(lite.model(tensors, [(lite.GATHER, [0, 1], [2])], [0, 1], [2]), "TFLITE")
        given = [strings(b"a", b"b\xff", b""), Tensor.from_values("INT32", [2], [1, 2])]
        assert shard.run(pick, given).outputs == [strings(b"b\xff", b"")]
        inverse = lite.model([(n, lite.BOOL, (-1,)) for n in "xy"], [(lite.NOT, [0], [1])], [0], [1])
        given = [Tensor.from_values("BOOL", [2], [True, False])]
        outputs = shard.run(store(inverse, "TFLITE"), given).outputs
        assert outputs == [Tensor.from_values("BOOL", [2], [False, True])]

    def test_operators_that_the_interpreter_lacks_are_told(self, shard: Shard, store: Store) -> None:
        tensors = [(name, lite.FLOAT, (-1,)) for name in "xy"]
        for operator in ("FlexSin", "MyOwn"):
            blob = lite.model(tensors, [(lite.CUSTOM, [0], [1])], [0], [1], custom=operator)
            error = error_of(shard, store(blob, "TFLITE"))
            assert error.startswith("-ERR LiteRT cannot run the model: ") and f"({operator})" in error

    def test_a_dtype_that_no_key_can_hold_is_refused(self, shard: Shard, store: Store) -> None:
        blob = lite.model([("x", lite.HALF, (-1,))], [], [0], [0])
        assert "input 1 of the model is float16" in error_of(shard, store(blob, "TFLITE"))

    def test_a_model_that_is_cut_short_is_refused(self, shard: Shard, store: Store) -> None:
        blob = lite.sum_and_product()
        for size in range(8, len(blob), 97):
            assert "the blob is no TensorFlow Lite model" in error_of(shard, store(blob[:size], "TFLITE"))


def zipped(entries: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w", how) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return blob.getvalue()


@pytest.fixture(scope="module")
def ir(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The linear model as OpenVINO's two files."""
    folder = tmp_path_factory.mktemp("ir")
    openvino.save_model(
        openvino.Core().read_model(small_models.onnx_linear()), folder / "m.xml", compress_to_fp16=False
    )
    return {name: (folder / name).read_bytes() for name in ("m.xml", "m.bin")}


class TestOpenVino:
    X, Y = floats(2, 3, values=[1, 2, 3, 0, 0, 0]), floats(2, 2, values=[4, 8.25, 0.5, -2])

    def test_runs_onnx(self, shard: Shard, store: Store) -> None:
        model = store(small_models.onnx_linear(), "OPENVINO")
        assert shard.load(model) == [OK, b"1", b"x", b"1", b"y"]
        assert shard.run(model, [self.X]).outputs == [self.Y]
        assert shard.run(model, [floats(1, 3, values=[1, 2, 3])]).outputs == [floats(1, 2, values=[4, 8.25])]

    def test_a_precision_without_instructions_is_left_alone(self) -> None:
        model = openvino.Core().read_model(small_models.onnx_linear())
        assert own_options(model, ["FP32", "BF16"]) == {}
        model.set_rt_info("bf16", [RUNTIME_OPTIONS, PRECISION_HINT])
        assert own_options(model, ["FP32", "BF16"]) == {PRECISION_HINT: "bf16"}
        assert own_options(model, ["FP32", "INT8"]) == {PRECISION_HINT: "f32"}

    def test_runs_its_own_format_from_a_zip(self, shard: Shard, store: Store, ir: dict[str, bytes]) -> None:
        model = store(zipped(ir), "OPENVINO")
        assert shard.load(model) == [OK, b"1", b"x", b"1", b"y"]
        assert shard.run(model, [self.X]).outputs == [self.Y]

    def test_one_that_goes_while_it_is_compiled_to_share_does_no_harm(
        self, tmp_path: Path, ir: dict[str, bytes]
    ) -> None:
        file = tmp_path / "model.zip"
        file.write_bytes(zipped(ir))
        model = Backends(2)["OPENVINO"].load(file, Device("CPU"), (), ())
        forms = model._forms  # type: ignore[attr-defined]
        run_beside_another(model)
        del model
        gc.collect()
        wait_until(lambda: forms.count == 2, DEADLINE_S, "it has a second form")

    def test_says_how_the_zip_should_be(self, shard: Shard, store: Store, ir: dict[str, bytes]) -> None:
        def refusal(blob: bytes) -> str:
            return error_of(shard, store(blob, "OPENVINO"))

        assert "the .bin is compressed: store it as it is (zip -0)" in refusal(
            zipped(ir, zipfile.ZIP_DEFLATED)
        )
        assert "one .xml and one .bin" in refusal(zipped({"m.xml": ir["m.xml"]}))
        assert "one .xml and one .bin" in refusal(zipped({**ir, "n.xml": ir["m.xml"]}))
        assert "OpenVINO cannot read the model" in refusal(zipped({**ir, "m.bin": ir["m.bin"][:8]}))
        assert "OpenVINO cannot read the model" in refusal(zipped({**ir, "m.xml": b"<net/>"}))

    def test_tensors_that_do_not_fit_are_told(self, shard: Shard, store: Store) -> None:
        model = store(small_models.onnx_linear(), "OPENVINO")
        expected = "input 'x' of the model takes the shape (any, 3), and the tensor has (1, 4)"
        assert expected in failure_of(shard, model, floats(1, 4, values=[1, 2, 3, 4]))
        expected = "input 'x' of the model takes float32, and the tensor is strings"
        assert expected in failure_of(shard, model, strings(b"a"))
        assert shard.run(model, [self.X]).outputs == [self.Y]

    @pytest.mark.parametrize("dtype", ["FLOAT", "DOUBLE", "INT8", "INT16", "INT32", "INT64", "UINT8", "BOOL"])
    def test_gives_back_what_it_was_given(self, shard: Shard, tmp_path: Path, dtype: str) -> None:
        file = small_models.write_onnx_echo(tmp_path / "m.onnx", getattr(TensorProto, dtype))
        given = Tensor.from_values(dtype, [2], [1, 0])
        ran = shard.run(StoredModel(file, "OPENVINO"), [given])
        assert (ran.reply, ran.outputs) == (OK, [given])

    @pytest.mark.parametrize("kind", ["STRING", "FLOAT16"])
    def test_a_dtype_that_it_does_not_take_is_refused(self, shard: Shard, tmp_path: Path, kind: str) -> None:
        file = small_models.write_onnx_echo(tmp_path / "m.onnx", getattr(TensorProto, kind))
        assert "which no tensor key can hold" in error_of(shard, StoredModel(file, "OPENVINO"))


class TestOnnx:
    def test_a_model_that_names_other_files_is_refused(
        self, shard: Shard, store: Store, tmp_path: Path
    ) -> None:
        """Wherever the tensor is: an initializer, an attribute, one in a branch."""
        (tmp_path / "weights").write_bytes(np.zeros(2, "float32").tobytes())
        for location in ("weights", "../../../../etc/passwd", "/etc/passwd"):
            tensor = external_tensor(location)
            for graph in (
                small_graph(initializers=[tensor]),
                small_graph(helper.make_node("Constant", [], ["c"], value=tensor)),
                small_graph(branching(tensor)),
            ):
                blob = helper.make_model(graph, ir_version=8).SerializeToString()
                for backend in ("ONNX", "OPENVINO"):
                    error = error_of(shard, store(blob, backend))
                    assert error == "-ERR the ONNX model keeps weights in other files: save it as one file"

    def test_a_sequence_as_output_is_refused_when_it_is_stored(self, shard: Shard, store: Store) -> None:
        graph = helper.make_graph(
            [helper.make_node("SequenceConstruct", ["x"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
            [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
        )
        error = error_of(shard, store(onnx_model(graph), "ONNX"))
        assert error.startswith(
            "-ERR output 1 of the model is seq(tensor(float)), which no tensor key can hold"
        )

    def test_a_dtype_that_no_key_can_hold_is_refused(self, shard: Shard, tmp_path: Path) -> None:
        file = small_models.write_onnx_echo(tmp_path / "m.onnx", TensorProto.FLOAT16)
        assert "input 1 of the model is tensor(float16)" in error_of(shard, StoredModel(file, "ONNX"))

    def test_an_input_that_has_a_value_need_not_be_given(self, shard: Shard, store: Store) -> None:
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "w", "y")]
        graph = helper.make_graph(
            [helper.make_node("Add", ["x", "w"], ["y"])],
            "g",
            values[:2],
            values[2:],
            [helper.make_tensor("w", TensorProto.FLOAT, (1,), [10.0])],
        )
        model = store(onnx_model(graph), "ONNX")
        assert shard.load(model) == [OK, b"1", b"x", b"1", b"y"]
        assert shard.run(model, [floats(2, values=[1, 2])]).outputs == [floats(2, values=[11, 12])]

    def test_scalars_and_empty_tensors_come_out(self, shard: Shard, store: Store) -> None:
        graph = helper.make_graph(
            [
                helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
                helper.make_node("NonZero", ["x"], ["where"]),
            ],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
            [
                helper.make_tensor_value_info("sum", TensorProto.FLOAT, []),
                helper.make_tensor_value_info("where", TensorProto.INT64, [1, "m"]),
            ],
        )
        ran = shard.run(store(onnx_model(graph), "ONNX"), [floats(2, values=[0, 0])], outputs=2)
        assert ran.outputs == [floats(values=[0]), Tensor.from_values("INT64", [1, 0], [])]


def onnx_model(graph: onnx.GraphProto) -> bytes:
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


def small_graph(*nodes: onnx.NodeProto, initializers: Sequence[onnx.TensorProto] = ()) -> onnx.GraphProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    nodes = (*nodes, helper.make_node("Identity", ["x"], ["y"]))
    return helper.make_graph(nodes, "g", values[:1], values[1:], initializers)


def external_tensor(location: str) -> onnx.TensorProto:
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def branching(tensor: onnx.TensorProto) -> onnx.NodeProto:
    """An If whose branches hold the tensor."""
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=tensor)],
        "branch",
        [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [2])],
    )
    return helper.make_node("If", ["flag"], ["z"], then_branch=branch, else_branch=branch)
