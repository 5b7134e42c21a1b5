"""Uses a server as simulations do, by SmartRedis, which stands on AI.*.

    python every_call_of_smartredis.py PORT FOLDER

In the folder is TORCH, a model that gives the sum and the product of two tensors. Prints `whole` at the end.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ |= {"SR_LOG_LEVEL": "QUIET", "SR_LOG_FILE": os.devnull, "SR_SOCKET_TIMEOUT": "60000"}

import numpy as np
from smartredis import Client, Dataset

SCRIPT = "def twice(a):\n    return a + a\n"
DTYPES = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16"]


def tensors(client: Client) -> None:
    for dtype in DTYPES:
        array = np.arange(6).reshape(2, 3).astype(dtype)
        client.put_tensor("t", array)
        got = client.get_tensor("t")
        assert got.dtype == array.dtype
        assert np.array_equal(got, array)
    client.copy_tensor("t", "copied")
    client.rename_tensor("copied", "renamed")
    client.delete_tensor("renamed")
    assert client.tensor_exists("t")
    assert not client.tensor_exists("renamed")


def models(client: Client, address: str, file: Path) -> None:
    client.set_model("m", file.read_bytes(), "TORCH", "CPU")
    client.set_model_from_file(
        "n", str(file), "TORCH", "CPU", batch_size=4, min_batch_size=2, min_batch_timeout=5
    )
    assert client.get_model("m") == file.read_bytes()
    client.put_tensor("a", np.ones(3, np.float32))
    for model in ("m", "n"):
        client.run_model(model, ["a", "a"], ["sum", "product"])
        assert client.get_tensor("sum").tolist() == [2, 2, 2]
    (info,) = client.get_ai_info([address], "m")
    assert (info["type"], info["calls"]) == ("MODEL", "1")
    client.delete_model("n")
    assert not client.model_exists("n")


def scripts(client: Client) -> None:
    client.set_script("s", SCRIPT, "CPU")
    assert client.get_script("s") == SCRIPT
    client.run_script("s", "twice", ["a"], ["b"])
    assert client.get_tensor("b").tolist() == [2, 2, 2]
    client.delete_script("s")


def datasets(client: Client) -> None:
    dataset = Dataset("d")
    dataset.add_tensor("x", np.ones((2, 2)))
    dataset.add_meta_scalar("step", 3)
    client.put_dataset(dataset)
    got = client.get_dataset("d")
    assert got.get_tensor("x").tolist() == [[1, 1], [1, 1]]
    assert got.get_meta_scalars("step").tolist() == [3]


def main() -> None:
    address, folder = f"127.0.0.1:{sys.argv[1]}", Path(sys.argv[2])
    client = Client(cluster=False, address=address)
    tensors(client)
    models(client, address, folder / "TORCH")
    scripts(client)
    datasets(client)
    print("whole")


main()
