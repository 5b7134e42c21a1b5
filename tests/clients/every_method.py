"""Drives every method of redisai.Client, or of keymiss.client.AI, on a server, and prints what they gave.

    python every_method.py redisai|keymiss PORT FOLDER

It runs in the client's own environment, so it needs nothing but the client. In the folder is a model for each
backend, by its name. The output is one JSON object: `results`, name -> what was given, and `not driven`, the
public methods that were never called.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import redis

warnings.simplefilter("ignore")  # the older commands are driven too, and those called experimental

SCRIPT = """
def add(tensors: List[Tensor], keys: List[str], args: List[str]):
    return tensors[0] + tensors[1]

def times(tensors: List[Tensor], keys: List[str], args: List[str]):
    return tensors[0] * float(args[0])

def put(tensors: List[Tensor], keys: List[str], args: List[str]):
    redis.execute("SET", keys[0], args[0])
    return tensors[0]
"""
OLD_SCRIPT = """
def bar(a, b):
    return a + b
"""
NUMPY_DTYPES = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "bool"]

results: dict[str, Any] = {}
called: set[str] = set()


def plain(value: Any) -> Any:
    """As JSON can tell it; an array with its dtype and its shape, strings' width aside."""
    if isinstance(value, np.ndarray):
        kind = "str" if value.dtype.kind == "U" else value.dtype.name
        return {"array": value.tolist(), "dtype": kind, "shape": list(value.shape)}
    if isinstance(value, bytes):
        return f"{len(value)} bytes, {sum(value)}" if b"\0" in value else value.decode()
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items() if name != "duration"}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def note(name: str, act: Callable[[], Any]) -> None:
    """What `act` gave, or the server's error."""
    assert name not in results, name
    try:
        results[name] = plain(act())
    except redis.ResponseError as error:
        results[name] = f"error: {error}"


def watch(kind: type, names: list[str]) -> set[str]:
    """Remember which of the class's methods were called."""
    for name in names:
        method = getattr(kind, name)

        def watched(
            *args: Any, _method: Any = method, _name: str = f"{kind.__name__}.{name}", **kwargs: Any
        ) -> Any:
            called.add(_name)
            return _method(*args, **kwargs)

        setattr(kind, name, watched)
    return {f"{kind.__name__}.{name}" for name in names}


def own_methods(kind: type) -> list[str]:
    """The public ones that it does not have from redis-py."""
    return [
        name
        for parent in kind.__mro__
        if parent.__module__.split(".")[0] != "redis" and parent is not object
        for name, value in vars(parent).items()
        if callable(value) and not name.startswith("_")
    ]


def drive_tensors(con: Any) -> None:
    def drive(dtype: str) -> None:
        array = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
        note(f"tensorset of {dtype}", lambda: con.tensorset("t", array))
        note(f"tensorget of {dtype}", lambda: con.tensorget("t"))
        note(f"meta of {dtype}", lambda: con.tensorget("t", meta_only=True))
        note(f"values of {dtype}", lambda: con.tensorget("t", as_numpy=False))

    for dtype in NUMPY_DTYPES:
        drive(dtype)
    note("tensorset of a list", lambda: con.tensorset("t", [1, 2, 3, 4], shape=(2, 2), dtype="float"))
    note("a list", lambda: con.tensorget("t"))
    note("tensorset of a tuple", lambda: con.tensorset("t", (2, 3), dtype="double"))
    note("a tuple", lambda: con.tensorget("t"))
    note("tensorset of strings", lambda: con.tensorset("t", ["ab", "c"], shape=(2,), dtype="str"))
    note("strings", lambda: con.tensorget("t"))
    note("strings as values", lambda: con.tensorget("t", as_numpy=False))
    note("tensorset of an array of str", lambda: con.tensorset("t", np.array(["a", "bc"])))
    note("an array of str", lambda: con.tensorget("t"))
    note("tensorset of a scalar", lambda: con.tensorset("t", np.array(3, "float32")))
    note("a scalar", lambda: con.tensorget("t"))
    note("read-only", lambda: con.tensorget("t").flags.writeable)
    note("mutable", lambda: con.tensorget("t", as_numpy_mutable=True).flags.writeable)
    note("tensorget of none", lambda: con.tensorget("none"))
    note("tensorset of nothing", lambda: con.tensorset("t", np.zeros((0, 2), "float32")))


def drive_models(con: Any, blob: bytes) -> None:
    options = {"batch": 8, "minbatch": 2, "minbatchtimeout": 5, "tag": "v1"}
    con.tensorset("a", np.array([1, 2, 3], "float32"))
    con.tensorset("b", np.array([4, 5, 6], "float32"))
    note("modelstore", lambda: con.modelstore("m", "TORCH", "CPU", blob))
    note("modelstore with options", lambda: con.modelstore("n", "torch", "cpu", blob, **options))
    note("modelstore of no model", lambda: con.modelstore("x", "TORCH", "CPU", b"none"))
    note("modelget", lambda: con.modelget("n"))
    note("modelget of none", lambda: con.modelget("none"))
    note("its meta", lambda: con.modelget("n", meta_only=True))
    note("modelscan", lambda: sorted(con.modelscan()))
    note("modelexecute", lambda: con.modelexecute("m", ["a", "b"], ["sum", "product"]))
    note("the sum", lambda: con.tensorget("sum"))
    note("the product", lambda: con.tensorget("product"))
    note("modelexecute in time", lambda: con.modelexecute("m", ["a", "b"], ["c", "d"], timeout=60000))
    note("modelexecute of none", lambda: con.modelexecute("none", "a", "b"))
    note("modelexecute, one output too few", lambda: con.modelexecute("m", ["a", "b"], "c"))
    note("infoget", lambda: con.infoget("m"))
    note("infoget of none", lambda: con.infoget("none"))
    note("inforeset", lambda: con.inforeset("m"))
    note("infoget, reset", lambda: con.infoget("m"))
    note("modelset", lambda: con.modelset("o", "TORCH", "CPU", blob, batch=4, minbatch=2, tag="v0"))
    note("its options", lambda: con.modelget("o", meta_only=True))
    note("modelrun", lambda: con.modelrun("o", ["a", "b"], ["c", "d"]))
    note("what it gave", lambda: con.tensorget("d"))
    note("modeldel", lambda: [con.modeldel(key) for key in ("n", "o")])
    note("modeldel of none", lambda: con.modeldel("none"))
    note("modelscan, deleted", con.modelscan)


def drive_scripts(con: Any) -> None:
    note("scriptstore", lambda: con.scriptstore("s", "CPU", SCRIPT, ["add", "times", "put"], tag="v1"))
    note("scriptstore, one entry point", lambda: con.scriptstore("r", "CPU", SCRIPT, "add"))
    note("scriptstore, no such function", lambda: con.scriptstore("x", "CPU", SCRIPT, "none"))
    note("scriptget", lambda: con.scriptget("s"))
    note("its meta only", lambda: con.scriptget("s", meta_only=True))
    note("scriptscan", lambda: sorted(con.scriptscan()))
    note("scriptexecute", lambda: con.scriptexecute("s", "add", inputs=["a", "b"], outputs=["c"]))
    note("it added", lambda: con.tensorget("c"))
    note("with an argument", lambda: con.scriptexecute("s", "times", inputs="a", args="2.5", outputs="c"))
    note("it multiplied", lambda: con.tensorget("c"))
    keyed = {"keys": ["k"], "inputs": ["a"], "args": ["told"], "outputs": ["c"], "timeout": 60000}
    note("with a key", lambda: con.scriptexecute("s", "put", **keyed))
    note("no such entry point", lambda: con.scriptexecute("s", "none", inputs=["a"], outputs=["c"]))
    note("infoget of a script", lambda: con.infoget("s"))
    note("scriptset", lambda: con.scriptset("o", "CPU", OLD_SCRIPT, tag="v0"))
    note("scriptrun", lambda: con.scriptrun("o", "bar", ["a", "b"], ["c"]))
    note("it ran", lambda: con.tensorget("c"))
    note("scriptdel", lambda: [con.scriptdel(key) for key in ("o", "r")])
    note("scriptscan, deleted", con.scriptscan)


def drive_dags(con: Any) -> None:
    ones = np.ones(3, "float32")

    def new() -> Any:
        dag = con.dag(load=["a"], persist=["c"], timeout=60000)
        dag.tensorset("one", ones).modelexecute("m", ["a", "one"], ["c", "d"])
        dag.tensorget("c").tensorget("d", as_numpy=False).tensorget("d", meta_only=True)
        *results, meta = dag.execute()
        return [*results, meta["dtype"], meta["shape"]]  # redisai gives the blob too

    def with_script() -> Any:
        dag = con.dag(load="a", routing="a")
        dag.scriptexecute("s", "times", inputs=["a"], args=["3"], outputs=["e"])
        return dag.tensorget("e").execute()

    def old() -> Any:
        dag = con.dag(load=["a", "b"], persist="old")
        return dag.modelrun("m", ["a", "b"], ["old", "d"]).tensorget("old").run()

    def without_keys() -> Any:
        dag = con.dag().tensorset("one", ones).modelrun("m", ["one", "one"], ["c", "d"])
        return dag.tensorget("c").run()

    note("a DAG", new)
    note("what it persisted", lambda: con.tensorget("c"))
    note("what it did not", lambda: con.tensorget("d2"))
    note("a DAG with a script", with_script)
    note("a readonly DAG", lambda: con.dag(load="a", readonly=True).tensorget("a").execute())
    note("an older DAG", old)
    note("a DAG without keys", without_keys)
    note("what it persisted too", lambda: con.tensorget("old"))


def drive_pipeline(con: Any) -> None:
    pipe = con.pipeline(transaction=False)
    native = getattr(pipe, "redis", pipe)
    pipe.tensorset("p", np.array([1, 2], "int16"))
    pipe.tensorset("q", [1.5], shape=(1,), dtype="float")
    pipe.tensorget("p")
    native.set("native", 1)
    pipe.tensorget("q", as_numpy=False)
    pipe.tensorget("q", meta_only=True)
    note("a pipeline", pipe.execute)
    transaction = con.pipeline()
    transaction.tensorset("p", np.array([5], "int64"))
    transaction.tensorget("p")
    note("a transaction", transaction.execute)


def drive_backends(con: Any, folder: Path) -> None:
    con.tensorset("rows", np.ones((2, 2), "float32"))
    con.tensorset("wide", np.ones((2, 3), "float32"))

    def drive(backend: str, given: Any, made: Any, **options: Any) -> None:
        blob = (folder / backend).read_bytes()
        note(f"{backend} stored", lambda: con.modelstore("m", backend, "CPU", blob, **options))
        note(f"{backend} run", lambda: con.modelexecute("m", given, made))
        note(f"what {backend} gave", lambda: con.tensorget("y"))
        note(f"{backend} described", lambda: con.modelget("m", meta_only=True))

    drive("ONNX", "wide", "y")
    drive("TFLITE", ["rows", "rows"], ["y", "z"])
    drive("TF", ["rows", "rows"], "y", inputs=["a", "b"], outputs="mul")


def drive_modes_of_redisai(port: int) -> None:
    from redisai import Client

    raw = Client(enable_postprocess=False, host="127.0.0.1", port=port)
    note("raw tensorset", lambda: raw.tensorset("t", np.array([1], "int8")))
    note("raw tensorget", lambda: raw.tensorget("t"))
    note("raw modelscan", raw.modelscan)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        Client(debug=True, host="127.0.0.1", port=port).tensorset("t", np.array([1], "int8"))
    note("printed when debugging", printed.getvalue)


def drive_settings(con: Any, blob: bytes) -> None:
    note("config", lambda: con.config("MODEL_CHUNK_SIZE"))
    note("config of none", lambda: con.config("NONE"))
    note("loadbackend of none", lambda: con.loadbackend("NONE", "none.so"))
    note("config of a path", lambda: con.config("BACKENDSPATH", "/nowhere"))
    note("the path", lambda: con.config("BACKENDSPATH"))
    note("config with a size", lambda: con.config("MODEL_CHUNK_SIZE", 1000))
    note("the size", lambda: con.config("MODEL_CHUNK_SIZE"))
    note("modelstore in chunks", lambda: con.modelstore("chunked", "TORCH", "CPU", blob))
    note("it runs", lambda: con.modelexecute("chunked", ["a", "b"], ["c", "d"]))
    note("the size as it was", lambda: con.config("MODEL_CHUNK_SIZE", 511 * 1024 * 1024))
    note("modelget of what came in chunks", lambda: con.modelget("chunked"))


def connect(client: str, port: int) -> tuple[Any, set[str]]:
    """The client, and its public methods, from now on watched."""
    if client == "redisai":
        from redisai import Client
        from redisai.dag import Dag
        from redisai.pipeline import Pipeline

        kinds = (Client, Dag, Pipeline)
        public = {name for kind in kinds for name in watch(kind, own_methods(kind))}
        return Client(host="127.0.0.1", port=port), public
    from keymiss.client import AI

    return AI(redis.Redis(host="127.0.0.1", port=port)), set()


def main() -> None:
    client, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    blob = (folder / "TORCH").read_bytes()
    con, public = connect(client, port)
    drive_tensors(con)
    drive_models(con, blob)
    drive_scripts(con)
    drive_dags(con)
    drive_pipeline(con)
    drive_settings(con, blob)
    drive_backends(con, folder)
    if client == "redisai":
        drive_modes_of_redisai(port)
    json.dump({"results": results, "not driven": sorted(public - called)}, sys.stdout)


main()
