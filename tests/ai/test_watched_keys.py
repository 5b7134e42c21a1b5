"""Who watches a key hears of each command that changes it, and of no other."""

from __future__ import annotations

import pytest
import redis
from support import torch_models, torch_scripts

CHANGE = [
    ("new", "AI.TENSORSET new FLOAT 1"),
    ("x", "AI.TENSORSET x FLOAT 1 VALUES 5"),
    ("x", "AI.TENSORSET x FLOAT 1 BLOB abcd"),
    ("m", "AI.MODELDEL m"),
    ("s", "AI.SCRIPTSET s CPU SOURCE "),
    ("s", "AI.SCRIPTDEL s"),
    ("y", "AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y"),
    ("y", "AI.SCRIPTEXECUTE s f INPUTS 1 x OUTPUTS 1 y"),
    ("y", "AI.DAGEXECUTE LOAD 1 x PERSIST 1 y |> AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y"),
]
FAIL = [
    ("new", "AI.TENSORSET new NONE 1"),
    ("x", "AI.TENSORSET x FLOAT 1 VALUES a"),
    ("string", "AI.TENSORSET string FLOAT 1"),
    ("m", "AI.MODELSTORE m TORCH CPU BLOB b"),
    ("string", "AI.MODELDEL string"),
    ("s", "AI.SCRIPTSTORE s CPU ENTRY_POINTS 1 none SOURCE "),
    ("string", "AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 string"),
    ("string", "AI.SCRIPTEXECUTE s f INPUTS 1 x OUTPUTS 1 string"),
]


@pytest.fixture
def watching(client: redis.Redis) -> redis.client.Pipeline:
    """A client that is about to watch a model `m`, a script `s`, a tensor `x` or a `string`."""
    torch_models.store(client, "m", torch_models.doubler())
    torch_models.set_tensor(client, "x", 1.0)
    torch_scripts.store(client, "s", "f", "return tensors[0]")
    client.set("string", "value")
    return client.pipeline()


def _goes_through(watching: redis.client.Pipeline) -> bool:
    watching.multi()
    watching.ping()
    try:
        return bool(watching.execute())
    except redis.WatchError:
        return False


@pytest.mark.parametrize(("key", "command"), CHANGE)
def test_what_changes_a_key_ends_the_transactions_that_watch_it(
    watching: redis.client.Pipeline, other: redis.Redis, key: str, command: str
) -> None:
    watching.watch(key)
    other.execute_command(*command.split(" "))
    assert not _goes_through(watching)


def test_a_model_that_is_stored_ends_them_too(watching: redis.client.Pipeline, other: redis.Redis) -> None:
    watching.watch("m")
    torch_models.store(other, "m", torch_models.doubler())
    assert not _goes_through(watching)


@pytest.mark.parametrize(("key", "command"), FAIL)
def test_what_fails_leaves_them_alone(
    watching: redis.client.Pipeline, other: redis.Redis, key: str, command: str
) -> None:
    watching.watch(key)
    with pytest.raises(redis.ResponseError):
        other.execute_command(*command.split(" "))
    assert _goes_through(watching)
