"""keymiss.client.AI: tensors, models, scripts and DAGs with numpy, on one server."""

from __future__ import annotations

import contextlib
import inspect
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import redis
from support import torch_models
from support.server import Server

from keymiss.client import AI, AsyncAI
from keymiss.errors import DeadlineError, TensorError

DTYPES = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "bool"]
LARGE_BYTES = 10_000_000
CLIENTS: list[dict[str, Any]] = [
    {},
    {"protocol": 3},
    {"decode_responses": True},
    {"protocol": 3, "decode_responses": True},
]
SCRIPT = """
def times(tensors: List[Tensor], keys: List[str], args: List[str]):
    return tensors[0] * float(args[0])

def put(tensors: List[Tensor], keys: List[str], args: List[str]):
    redis.execute("SET", keys[0], args[0])
    return tensors[0]
"""


@pytest.fixture(params=CLIENTS, ids=str)
def any_ai(request: pytest.FixtureRequest, server: Server) -> Iterator[AI]:
    """On clients of RESP2 and RESP3, decoding and not."""
    with contextlib.closing(server.client(**request.param)) as client:
        yield AI(client)


@pytest.fixture
def ai(client: redis.Redis) -> AI:
    return AI(client)


def _store(ai: AI) -> None:
    assert ai.modelstore("m", "TORCH", "CPU", torch_models.sum_and_product()) == "OK"
    ai.tensorset("a", np.array([1, 2, 3], np.float32))
    ai.tensorset("b", np.array([4, 5, 6], np.float32))


def test_every_dtype_comes_back_as_it_went(any_ai: AI) -> None:
    for dtype in DTYPES:
        array = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
        assert any_ai.tensorset("x", array) == "OK"
        got = any_ai.tensorget("x")
        assert got.dtype == array.dtype
        np.testing.assert_array_equal(got, array)
        told = any_ai.tensorget("x", as_numpy=False)
        assert told["shape"] == [2, 3]
        assert told["values"] == array.ravel().tolist()
        assert any_ai.tensorget("x", meta_only=True) == {"dtype": told["dtype"], "shape": [2, 3]}


def test_strings_of_every_kind_come_back_as_str(any_ai: AI) -> None:
    strings = [["ab", "čí"], ["", "d e"]]
    for given in (strings, np.array(strings), np.array(strings, object), np.char.encode(strings, "utf-8")):
        any_ai.tensorset("x", given)
        got = any_ai.tensorget("x")
        assert got.dtype.kind == "U"
        assert got.tolist() == strings
    assert any_ai.tensorget("x", as_numpy=False)["values"] == ["ab", "čí", "", "d e"]


def test_bytes_that_are_no_text_come_back_as_the_same_bytes(ai: AI, client: redis.Redis) -> None:
    ai.tensorset("x", np.array([b"\xff\xfe", b"a"], object))
    ai.tensorset("y", ai.tensorget("x"))
    assert client.execute_command("AI.TENSORGET", "y", "BLOB") == b"\xff\xfe\0a\0"


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.arange(24, dtype=np.int64).reshape(2, 3, 4).transpose(2, 0, 1),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.arange(10, dtype=np.int16)[::-3],
        np.array(2.5),
        np.float32(2.5),
        np.array([np.nan, np.inf, -np.inf]),
        np.broadcast_to(np.float32(1), (2, 2)),
    ],
    ids=[
        "big-endian",
        "transposed",
        "fortran",
        "strided",
        "scalar",
        "numpy scalar",
        "nan and inf",
        "broadcast",
    ],
)
def test_arrays_of_any_layout_come_back_equal(ai: AI, array: Any) -> None:
    ai.tensorset("x", array)
    got = ai.tensorget("x")
    assert got.shape == array.shape
    np.testing.assert_array_equal(got, array)


def test_lists_take_the_shape_and_the_dtype_that_are_told(ai: AI) -> None:
    ai.tensorset("x", [1, 2, 3, 4], shape=(2, 2), dtype="float")
    assert ai.tensorget("x", meta_only=True) == {"dtype": "FLOAT", "shape": [2, 2]}
    ai.tensorset("x", [1, 2], dtype="INT8")
    assert ai.tensorget("x").dtype == np.int8
    ai.tensorset("x", np.array([1.0, 0.0]), dtype=bool)
    assert ai.tensorget("x").tolist() == [True, False]
    ai.tensorset("x", [[1.5]])
    assert ai.tensorget("x").dtype == np.float64


@pytest.mark.parametrize(
    ("tensor", "options", "told"),
    [
        (np.array([1j]), {}, "a tensor cannot be complex128: it is one of FLOAT, "),
        (np.array([1], np.float16), {}, "a tensor cannot be float16"),
        (np.array([1], np.uint64), {}, "a tensor cannot be uint64"),
        (np.array([None]), {}, "a STRING tensor holds str or bytes, not NoneType"),
        (["a\0b"], {}, "cannot hold a NUL byte: 'a\\x00b'"),
        (["\ud800"], {}, "must be text: 'utf-8' codec can't encode character '\\ud800'"),
        ([1, 2, 3], {"shape": (2, 2)}, "cannot reshape array of size 3 into shape (2,2)"),
        ([[1], [1, 2]], {}, "inhomogeneous shape"),
        (["a"], {"dtype": "FLOAT"}, "could not convert string to float"),
        ([1], {"dtype": "nonsense"}, "nonsense"),
    ],
)
def test_what_is_no_tensor_is_told_before_anything_is_sent(
    ai: AI, tensor: Any, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(TensorError) as raised:
        ai.tensorset("x", tensor, **options)
    assert told in str(raised.value)
    assert not ai.redis.exists("x")


def test_the_array_lies_in_the_reply_unless_it_is_to_be_written(ai: AI) -> None:
    ai.tensorset("x", np.ones(4, np.float32))
    shared, own = ai.tensorget("x"), ai.tensorget("x", as_numpy_mutable=True)
    assert isinstance(shared.base, np.ndarray)
    assert isinstance(shared.base.base, bytes)
    assert not shared.flags.writeable
    assert own.flags.writeable
    assert own.flags.owndata


def test_an_array_is_sent_from_its_own_memory() -> None:
    from keymiss.client import commands

    array = np.ones((3, 5), np.float32)
    sent = commands.tensorset("x", array).args[-1]
    assert np.shares_memory(np.frombuffer(sent, np.uint8), array)
    model = b"0123456789"
    chunks = commands.modelstore("m", "TORCH", "CPU", model, chunk_size=4).args[5:]
    assert [bytes(chunk) for chunk in chunks] == [b"0123", b"4567", b"89"]
    assert all(chunk.obj is model for chunk in chunks)


def test_a_large_tensor_is_copied_neither_way(ai: AI) -> None:
    array = np.ones(LARGE_BYTES, np.uint8)
    ai.tensorset("x", array)
    assert _peak_bytes(lambda: ai.tensorset("x", array)) < LARGE_BYTES / 10
    assert _peak_bytes(lambda: ai.tensorget("x")) < LARGE_BYTES * 1.1  # the reply itself


def _peak_bytes(act: Callable[[], Any]) -> int:
    """What Python had allocated most at once during `act`."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_large_tensors_share_the_client_s_connections(server: Server) -> None:
    """Refused, cut off and on a client of one connection: the next command finds its own reply."""
    large = np.ones(LARGE_BYTES, np.uint8)
    for options in ({}, {"single_connection_client": True}):
        with (
            contextlib.closing(server.client(**options)) as client,
            contextlib.closing(server.client()) as other,
        ):
            ai = AI(client)
            client.set("text", "a")
            with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
                ai.dag(load="text").tensorset("x", large).execute()
            assert client.ping()
            before = len(other.client_list())
            ai.tensorset("x", large)
            assert len(other.client_list()) == before
            other.client_kill_filter(_type="normal", skipme=True)
            with contextlib.suppress(redis.ConnectionError):
                ai.tensorset("x", large)  # where the pool did not see the end
            ai.tensorset("x", large)
            assert ai.tensorget("x").shape == large.shape


def test_a_model_is_stored_described_run_and_deleted(any_ai: AI) -> None:
    blob = torch_models.sum_and_product()
    options: dict[str, Any] = {"batch": 8, "minbatch": 2, "minbatchtimeout": 5, "tag": "v1"}
    assert any_ai.modelstore("m", "TORCH", "CPU", blob, chunk_size=1000, **options) == "OK"
    meta = any_ai.modelget("m", meta_only=True)
    assert meta == {
        "backend": "TORCH",
        "device": "CPU",
        "tag": "v1",
        "batchsize": 8,
        "minbatchsize": 2,
        "inputs": ["a", "b"],
        "outputs": ["", ""],
        "minbatchtimeout": 5,
    }
    assert any_ai.modelget("m") == {**meta, "blob": blob}
    assert any_ai.modelscan() == [["m", "v1"]]
    any_ai.tensorset("a", np.array([1, 2], np.float32))
    assert any_ai.modelexecute("m", ["a", "a"], ["sum", "product"]) == "OK"
    assert any_ai.tensorget("product").tolist() == [1, 4]
    info = any_ai.infoget("m")
    assert (info["type"], info["calls"], info["errors"]) == ("MODEL", 1, 0)
    any_ai.inforeset("m")
    assert any_ai.infoget("m")["calls"] == 0
    assert any_ai.modeldel("m") == "OK"
    assert any_ai.modelscan() == []


def test_a_model_larger_than_a_chunk_comes_back_whole(ai: AI) -> None:
    blob = torch_models.sum_and_product()
    size = ai.config("MODEL_CHUNK_SIZE")
    assert isinstance(size, int)
    assert ai.config("MODEL_CHUNK_SIZE", 1000) == "OK"
    try:
        ai.modelstore("m", "TORCH", "CPU", memoryview(blob))
        assert ai.modelget("m")["blob"] == blob
    finally:
        ai.config("MODEL_CHUNK_SIZE", size)
    assert ai.config("NONE") is None


def test_the_versions_are_told(any_ai: AI) -> None:
    assert any_ai.info()["version"] == "1.2.7"


def test_a_script_is_stored_described_called_and_deleted(any_ai: AI) -> None:
    assert any_ai.scriptstore("s", "CPU", SCRIPT, ["times", "put"], tag="v1") == "OK"
    meta = any_ai.scriptget("s", meta_only=True)
    assert meta == {"device": "CPU", "tag": "v1", "entry points": ["times", "put"]}
    assert any_ai.scriptget("s") == {**meta, "source": SCRIPT}
    assert any_ai.scriptscan() == [["s", "v1"]]
    any_ai.tensorset("x", np.array([1, 2], np.float32))
    assert any_ai.scriptexecute("s", "times", inputs="x", args=2.5, outputs="y", timeout=60_000) == "OK"
    assert any_ai.tensorget("y").tolist() == [2.5, 5]
    assert any_ai.scriptexecute("s", "times", inputs="x", args=[np.float32(3)], outputs="y") == "OK"
    assert any_ai.tensorget("y").tolist() == [3, 6]
    assert any_ai.scriptexecute("s", "put", ["k"], ["x"], ["told"], ["y"]) == "OK"
    assert any_ai.redis.get("k") in ("told", b"told")
    assert any_ai.infoget("s")["type"] == "SCRIPT"
    assert any_ai.scriptdel("s") == "OK"
    assert any_ai.scriptscan() == []


def test_a_dag_gives_what_its_operations_give(any_ai: AI) -> None:
    _store(any_ai)
    dag = any_ai.dag(load=["a"], persist="sum", timeout=60_000)
    dag.tensorset("one", np.ones(3, np.float32)).modelexecute("m", ["a", "one"], ["sum", "product"])
    dag.tensorget("sum").tensorget("product", as_numpy=False).tensorget("product", meta_only=True)
    stored, run, total, product, meta = dag.execute()
    assert (stored, run) == ("OK", "OK")
    assert total.tolist() == [2, 3, 4]
    assert product["values"] == [1, 2, 3]
    assert meta == {"dtype": "FLOAT", "shape": [3]}
    assert any_ai.tensorget("sum").tolist() == [2, 3, 4]
    assert not any_ai.redis.exists("product", "one")


def test_a_dag_without_keys_goes_where_its_model_is(ai: AI) -> None:
    _store(ai)
    dag = ai.dag().tensorset("x", np.ones(1, np.float32)).modelexecute("m", ["x", "x"], ["y", "z"])
    assert dag.tensorget("y", as_numpy_mutable=True).execute()[2].tolist() == [2]


def test_a_readonly_dag_runs_and_persists_nothing(ai: AI) -> None:
    _store(ai)
    assert ai.dag(load=["a"], readonly=True).tensorget("a").execute()[0].tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="readonly DAG cannot persist"):
        ai.dag(persist=["a"], readonly=True)


def test_an_error_in_a_dag_tells_of_which_operation_it_is(any_ai: AI) -> None:
    _store(any_ai)
    any_ai.tensorset("wide", np.ones((2, 2), np.float32))
    dag = any_ai.dag(load=["a", "wide"], persist=["sum"])
    dag.tensorget("a").modelexecute("m", ["a", "wide"], ["sum", "product"])
    with pytest.raises(redis.ResponseError, match=r"operation 2 of the DAG, AI\.MODELEXECUTE: "):
        dag.execute()
    assert not any_ai.redis.exists("sum")


def test_a_run_that_never_got_its_turn_is_a_deadline_error(ai: AI, server: Server) -> None:
    ai.modelstore("slow", "TORCH", "CPU", torch_models.slow())
    ai.tensorset("steps", np.array([120_000], np.float32))
    with contextlib.closing(server.client()) as other:
        connection = other.connection_pool.get_connection()
        connection.send_command("AI.MODELEXECUTE", "slow", "INPUTS", 1, "steps", "OUTPUTS", 1, "x")
        with pytest.raises(DeadlineError, match="timeout passed"):
            ai.modelexecute("slow", "steps", "y", timeout=1)
        other.connection_pool.release(connection)
    assert not ai.redis.exists("y")


def test_what_the_server_refuses_is_a_response_error(ai: AI) -> None:
    with pytest.raises(redis.ResponseError, match="tensor key is empty"):
        ai.tensorget("none")
    with pytest.raises(redis.ResponseError, match="model key is empty"):
        ai.modelexecute("none", "a", "b")
    with pytest.raises(ValueError, match="chunk_size must be at least 1"):
        ai.modelstore("m", "TORCH", "CPU", b"x", chunk_size=0)


def test_a_pipeline_mixes_with_commands_of_redis(any_ai: AI) -> None:
    _store(any_ai)
    with any_ai.pipeline(transaction=False) as pipe:
        pipe.tensorset("x", np.ones(3, np.float32)).modelexecute("m", ["x", "a"], ["y", "z"])
        pipe.redis.set("k", 1)
        pipe.dag(load="y").tensorget("y").execute()
        pipe.tensorget("y")
        stored, run, kept, dag, got = pipe.execute()
        assert (stored, run, kept) == ("OK", "OK", True)
        assert dag[0].tolist() == got.tolist() == [2, 3, 4]
        assert pipe.tensorget("x").execute()[0].tolist() == [1, 1, 1]


def test_an_error_in_a_pipeline_stays_in_its_place(ai: AI) -> None:
    _store(ai)
    ai.tensorset("wide", np.ones((2, 2), np.float32))
    pipe = ai.pipeline(transaction=False).tensorget("none").tensorset("x", [1.0]).tensorget("x")
    pipe.dag(load=["a", "wide"]).modelexecute("m", ["a", "wide"], ["y", "z"]).execute()
    error, stored, got, dag_error = pipe.execute(raise_on_error=False)
    assert isinstance(error, redis.ResponseError)
    assert (stored, got.tolist()) == ("OK", [1])
    assert "operation 1 of the DAG" in str(dag_error)
    with pytest.raises(redis.ResponseError, match="operation 1 of the DAG"):
        pipe.dag(load=["a", "wide"]).modelexecute("m", ["a", "wide"], ["y", "z"]).execute().execute()


def test_a_pipeline_that_failed_begins_anew(ai: AI, client: redis.Redis) -> None:
    client.set("k", "v")
    pipe = ai.pipeline(transaction=False).tensorget("none")
    with pytest.raises(redis.ResponseError, match="tensor key is empty"):
        pipe.execute()
    pipe.redis.get("k")
    assert pipe.execute() == [b"v"]


def test_a_pipeline_that_was_left_begins_anew(ai: AI, client: redis.Redis) -> None:
    client.set("k", "v")
    with ai.pipeline() as pipe:
        pipe.tensorget("none")
    pipe.redis.get("k")
    assert pipe.execute() == [b"v"]


def test_a_pipeline_that_watches_gives_results_at_once(ai: AI, client: redis.Redis) -> None:
    _store(ai)
    with ai.pipeline() as pipe:
        pipe.redis.watch("a")
        got: Any = pipe.tensorget("a")
        pipe.redis.multi()
        pipe.redis.set("k", "v")
        stored = pipe.tensorset("b", got * 2).tensorget("b").execute()
    assert (stored[:2], stored[2].tolist()) == ([True, "OK"], [2, 4, 6])


def test_a_transaction_carries_tensors(ai: AI) -> None:
    assert ai.pipeline().tensorset("x", [2.0]).tensorget("x").execute()[1].tolist() == [2]


def test_a_transaction_of_a_decoding_client_is_refused_at_once(server: Server) -> None:
    with (
        contextlib.closing(server.client(decode_responses=True)) as client,
        pytest.raises(ValueError, match="decode_responses"),
    ):
        AI(client).pipeline()


def test_the_older_commands_work_and_warn(ai: AI) -> None:
    _store(ai)
    with pytest.warns(DeprecationWarning, match="use modelstore") as warned:
        ai.modelset("m", "TORCH", "CPU", torch_models.sum_and_product(), 4, 2, "v0")
    assert warned[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="use modelexecute"):
        ai.modelrun("m", ["a", "b"], ["c", "d"])
    with pytest.warns(DeprecationWarning, match="use execute") as warned:
        ai.dag(load="a").tensorget("a").run()
    assert warned[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="use scriptstore"):
        ai.scriptset("s", "CPU", "def bar(a, b):\n    return a + b\n")
    with pytest.warns(DeprecationWarning, match="use scriptexecute"):
        ai.scriptrun("s", "bar", ["a", "c"], "e")
    assert ai.tensorget("e").tolist() == [6, 9, 12]


def test_each_class_refuses_the_other_s_clients() -> None:
    with pytest.raises(TypeError, match="Redis is an asyncio client: use AsyncAI"):
        AI(redis.asyncio.Redis())
    with pytest.raises(TypeError, match="Redis is no asyncio client: use AI"):
        AsyncAI(redis.Redis())


def test_both_have_the_same_methods_and_say_what_they_take() -> None:
    def public(kind: type) -> dict[str, Any]:
        return {name: value for name, value in vars(kind).items() if not name.startswith("_")}

    assert public(AI).keys() == public(AsyncAI).keys()
    for name, method in public(AI).items():
        assert method.__name__ == name
        assert method.__doc__, name
        assert inspect.signature(method).parameters == inspect.signature(public(AsyncAI)[name]).parameters
    assert list(inspect.signature(AI.tensorget).parameters)[:2] == ["self", "key"]
