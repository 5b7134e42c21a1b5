"""Models, scripts and DAGs that functions run through `redisAI`, as RedisGears' own documents do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError
from support import torch_models
from support.functions import answering_misses, register
from support.server import Server
from support.torch_scripts import source

MULTIPLY = source("multiply", "return tensors[0] * tensors[1]")
# Without entry points: any function can be run, and takes tensors and lists of them.
OLD = (
    "def addtwo(a, b):\n    return a + b\n"
    "def pile(a, rest: List[Tensor]):\n    return a + torch.stack(rest).sum(), rest[0]\n"
)
A_AND_B = (
    "import redisAI\n"
    "a = redisAI.createTensorFromValues('FLOAT', [2, 2], [1.0, 2.0, 3.0, 4.0])\n"
    "b = redisAI.createTensorFromValues('FLOAT', [2, 2], [2.0, 3.0, 2.0, 3.0])\n"
)
FLAT = "    return [redisAI.tensorToFlatList(t) for t in res]\n"
PRODUCT = b"[[2.0, 6.0, 6.0, 12.0]]"


@pytest.fixture(autouse=True)
def stored(client: redis.Redis) -> None:
    """A model `m` of two inputs and outputs, a script `s`, an older one `old`."""
    torch_models.store(client, "m", torch_models.sum_and_product())
    client.execute_command("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 1, "multiply", "SOURCE", MULTIPLY)
    client.execute_command("AI.SCRIPTSET", "old", "CPU", "SOURCE", OLD)


def triggered(client: redis.Redis, body: str, coroutine: bool = True, mode: str = "async_local") -> Any:
    """What a function with this body answers to its trigger."""
    register(
        client,
        f"{A_AND_B}{'async ' * coroutine}def f(x):\n{body}"
        f"GB('CommandReader').map(f).register(trigger='t', mode='{mode}')\n",
    )
    (answer,) = client.execute_command("RG.TRIGGER", "t")
    return answer


def script_run(call: str, key: str = "s", function: str = "multiply", inputs: Iterable[str] = "ab") -> str:
    adds = "".join(f"    redisAI.scriptRunnerAddInput(r, {name})\n" for name in inputs)
    return (
        f"    r = redisAI.createScriptRunner('{key}', '{function}')\n{adds}"
        f"    redisAI.scriptRunnerAddOutput(r)\n    res = {call}\n"
    )


MODEL_RUN = (
    "    r = redisAI.createModelRunner('m')\n"
    "    redisAI.modelRunnerAddInput(r, 'a', a)\n    redisAI.modelRunnerAddInput(r, 'b', b)\n"
    "    redisAI.modelRunnerAddOutput(r, 'c')\n    redisAI.modelRunnerAddOutput(r, 'd')\n"
)
DAG = (
    "    res = await redisAI.createDAGRunner().Input('a', a).TensorSet('b', b)"
    ".ModelRun(name='m', inputs=['a', 'b'], outputs=['c', 'd'])"
    ".ScriptRun(name='s', func='multiply', inputs=['c', 'd'], outputs=['e'])"
    ".TensorGet('e').TensorGet('a').Run()\n"
)
DAG_GIVES = b"[[6.0, 30.0, 30.0, 84.0], [1.0, 2.0, 3.0, 4.0]]"


@pytest.mark.parametrize("run", ["await redisAI.runModelAsync", "redisAI.runModel"])
def test_a_model_is_run_in_one_call(client: redis.Redis, run: str) -> None:
    res = f"    res = {run}('m', {{'a': a, 'b': b}}, ['c', 'd'])\n"
    assert triggered(client, res + FLAT) == b"[[3.0, 5.0, 5.0, 7.0], [2.0, 6.0, 6.0, 12.0]]"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("'none', {'a': a, 'b': b}, ['c', 'd']", "given key do not contain RedisAI model"),
        ("'m', [a, b], ['c', 'd']", "inputs must be a dict of tensors by name"),
        ("'m', {'a': a, 'b': 1}, ['c', 'd']", "Given argument is not of type PyTensor"),
        ("'m', {'a': a, 'b': b}, 'cd'", "outputs must be iterable"),
        ("'m', {'a': a, 'b': b}, ['c', 1]", "output name argument must be a string"),
        ("'m', {'a': a, 'b': b}", "Wrong number of arguments given to runModel"),
    ],
)
def test_what_a_model_cannot_be_run_with(client: redis.Redis, call: str, error: str) -> None:
    body = f"    try:\n        redisAI.runModel({call})\n    except Exception as e:\n        return str(e)\n"
    assert triggered(client, body) == error.encode()


def test_a_script_is_awaited_by_a_coroutine(client: redis.Redis) -> None:
    assert triggered(client, script_run("await redisAI.scriptRunnerRunAsync(r)") + FLAT) == PRODUCT
    assert client.keys("out*") == []


@pytest.mark.parametrize("mode", ["async_local", "sync"])
def test_a_plain_function_waits_for_its_runs(client: redis.Redis, mode: str) -> None:
    body = script_run("redisAI.scriptRunnerRun(r)") + MODEL_RUN
    body += "    res += redisAI.modelRunnerRun(r)\n" + FLAT
    assert triggered(client, body, coroutine=False, mode=mode) == (
        b"[[2.0, 6.0, 6.0, 12.0], [3.0, 5.0, 5.0, 7.0], [2.0, 6.0, 6.0, 12.0]]"
    )


def test_an_input_and_its_name_may_come_in_either_order(client: redis.Redis) -> None:
    body = (
        "    r = redisAI.createScriptRunner('s', 'multiply')\n    redisAI.scriptRunnerAddOutput(r)\n"
        "    redisAI.scriptRunnerAddInput(r, 'a', a)\n    redisAI.scriptRunnerAddInput(r, b, 'b')\n"
        "    res = redisAI.scriptRunnerRun(r)\n" + MODEL_RUN.replace("'a', a", "a, 'a'")
    )
    answer = triggered(client, body + "    res += redisAI.modelRunnerRun(r)\n" + FLAT, coroutine=False)
    assert answer == b"[[2.0, 6.0, 6.0, 12.0], [3.0, 5.0, 5.0, 7.0], [2.0, 6.0, 6.0, 12.0]]"


def test_a_dag_goes_through_models_and_scripts_by_local_names(client: redis.Redis) -> None:
    client.execute_command("AI.TENSORSET", "c", "FLOAT", 1, "VALUES", 5)
    assert triggered(client, DAG + FLAT) == DAG_GIVES
    assert client.execute_command("AI.TENSORGET", "c", "VALUES") == [b"5"]
    assert client.exists("d", "e") == 0


def test_operations_from_a_string_give_whole_tensors(client: redis.Redis) -> None:
    body = (
        "    d = redisAI.createDAGRunner().Input('a', a).AddInput(b, 'b')\n"
        "    d.OpsFromString('|> AI.MODELEXECUTE m INPUTS 2 a b OUTPUTS 2 c d |> ai.tensorget c VALUES')\n"
        "    d.OpsFromString('|> AI.SCRIPTEXECUTE s multiply INPUTS 2 c d OUTPUTS 1 e |> AI.TENSORGET e')\n"
        "    res = await d.Run()\n    shapes = [redisAI.tensorGetDims(t) for t in res]\n"
        "    return str(shapes) + str([redisAI.tensorToFlatList(t) for t in res])\n"
    )
    assert triggered(client, body) == (b"[(2, 2), (2, 2)][[3.0, 5.0, 5.0, 7.0], [6.0, 30.0, 30.0, 84.0]]")


def test_runs_of_one_runner_may_overlap(client: redis.Redis) -> None:
    body = (
        "    d = redisAI.createDAGRunner().Input('a', a).TensorGet('a')\n    first = d.Run()\n"
        "    second = d.Input('b', b).TensorGet('b').Run()\n"
        "    return [len(await first), len(await second)]\n"
    )
    assert triggered(client, body) == b"[1, 2]"


def test_a_script_without_entry_points_takes_a_list_of_tensors(client: redis.Redis) -> None:
    assert triggered(client, script_run("await redisAI.scriptRunnerRunAsync(r)", "old", "addtwo") + FLAT) == (
        b"[[3.0, 5.0, 5.0, 7.0]]"
    )
    body = (
        "    r = redisAI.createScriptRunner('old', 'pile')\n    redisAI.scriptRunnerAddInput(r, a)\n"
        "    redisAI.scriptRunnerAddInputList(r, [b, b])\n"
        "    redisAI.scriptRunnerAddOutput(r)\n    redisAI.scriptRunnerAddOutput(r)\n"
        "    res = redisAI.scriptRunnerRun(r)\n"
    )
    client.execute_command("RG.UNREGISTER", client.execute_command("RG.DUMPREGISTRATIONS")[0][1])
    assert triggered(client, body + FLAT, coroutine=False) == (
        b"[[21.0, 22.0, 23.0, 24.0], [2.0, 3.0, 2.0, 3.0]]"
    )


def test_an_entry_point_gets_a_list_among_its_tensors(client: redis.Redis) -> None:
    body = (
        "    r = redisAI.createScriptRunner('s', 'multiply')\n"
        "    redisAI.scriptRunnerAddInputList(r, [a, b])\n    redisAI.scriptRunnerAddOutput(r)\n"
        "    res = await redisAI.scriptRunnerRunAsync(r)\n"
    )
    assert triggered(client, body + FLAT) == PRODUCT


def test_a_returned_error_is_shown_by_its_text(client: redis.Redis) -> None:
    body = (
        "    d = redisAI.createDAGRunner().Input('a', a).Input('b', b)\n"
        "    d.ScriptRun(name='s', func='no_func', inputs=['a', 'b'], outputs=['c']).TensorGet('c')\n"
        "    try:\n        await d.Run()\n    except Exception as e:\n        return e\n"
    )
    assert triggered(client, body) == b"Function does not exist: no_func"


@pytest.mark.parametrize("mode", ["async_local", "sync"])
def test_a_large_model_is_stored_while_the_server_waits(
    server: Server, client: redis.Redis, mode: str
) -> None:
    """The event loop does not turn then: what hashes it must not need that."""
    client.set("blob", torch_models.weighty())
    earlier = server.log
    body = (
        "    with atomic():\n"
        "        return execute('AI.MODELSTORE', 'w', 'TORCH', 'CPU', 'BLOB', execute('GET', 'blob'))\n"
    )
    assert triggered(client, body, coroutine=False, mode=mode) == b"OK"
    assert "did not end in time" not in server.log.removeprefix(earlier)


def test_a_miss_is_answered_by_a_dag(client: redis.Redis) -> None:
    lines = A_AND_B.splitlines(keepends=True)
    body = "".join(f"    {line}" for line in lines) + DAG
    register(
        client,
        answering_misses("q", body + "    override_reply(str([redisAI.tensorToFlatList(t) for t in res]))\n"),
    )
    assert client.get("q1") == DAG_GIVES


def test_runs_count_in_ai_info(client: redis.Redis) -> None:
    triggered(client, DAG + FLAT)
    for key in ("m", "s"):
        told = client.execute_command("AI.INFO", key)
        counters = dict(zip(told[::2], told[1::2], strict=True))
        assert (counters[b"calls"], counters[b"errors"]) == (1, 0)


def test_a_replica_runs_what_cannot_write(replicated: tuple[Server, Server]) -> None:
    primary, replica = replicated
    with contextlib.closing(primary.client()) as writer, contextlib.closing(replica.client()) as reader:
        torch_models.store(writer, "m", torch_models.sum_and_product())
        register(
            writer,
            f"{A_AND_B}async def f(x):\n"
            "    d = redisAI.createDAGRunner().Input('a', a)\n"
            "    d.ModelRun(name='m', inputs=['a', 'a'], outputs=['c', 'd']).TensorGet('c')\n"
            "    res = await d.Run()\n"
            f"{FLAT}"
            "GB('CommandReader').map(f).register(trigger='t', mode='async_local')\n",
        )
        assert writer.wait(1, 5000) == 1
        assert reader.execute_command("RG.TRIGGER", "t") == [b"[[2.0, 4.0, 6.0, 8.0]]"]


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("createScriptRunner('nokey', 'f')", "given key do not contain RedisAI script"),
        ("createScriptRunner('m', 'f')", "given key do not contain RedisAI script"),
        ("createScriptRunner(5, 'f')", "key argument must be a string"),
        ("createScriptRunner('s', 5)", "function name argument must be a string"),
        ("scriptRunnerAddInput(5, a)", "Given argument is not of type PyScriptRunner"),
        (
            "scriptRunnerAddInput(redisAI.createScriptRunner('s', 'f'), 5)",
            "Given argument is not of type PyTensor",
        ),
        (
            "scriptRunnerAddInputList(redisAI.createScriptRunner('s', 'f'), a)",
            "tensors argument must be iterable",
        ),
        ("scriptRunnerAddOutput()", "Wrong number of arguments given to scriptRunnerAddOutput"),
        ("scriptRunnerRun(redisAI.createModelRunner('m'))", "Given argument is not of type PyScriptRunner"),
        ("scriptRunnerRun(redisAI.createScriptRunner('s', 'f'))", "Function does not exist: f"),
        ("createDAGRunner(5)", "Wrong number of arguments given to createDAGRunner"),
        ("createDAGRunner().Input('a')", "Wrong number of arguments given to Input"),
        ("createDAGRunner().Input(5, a)", "tensor name argument must be a string"),
        ("createDAGRunner().TensorGet(5)", "tensor name argument must be a string"),
        ("createDAGRunner().ModelRun(name='s', inputs=[], outputs=[])", "WRONGTYPE"),
        ("createDAGRunner().ModelRun(name='m', inputs=['a'], outputs=5)", "Model outputs must be iterable"),
        (
            "createDAGRunner().ModelRun(name='m', inputs=[5], outputs=[])",
            "Model inputs argument must be a string",
        ),
        ("createDAGRunner().ScriptRun(func='f')", "Script key name was not given"),
        ("createDAGRunner().ScriptRun(name='nokey', func='f', inputs=[], outputs=[])", "script key is empty"),
        ("createDAGRunner().ScriptRun(name='s', inputs=['a'], outputs=[])", "Function name was not given"),
        ("createDAGRunner().OpsFromString(5)", "ops argument must be a string"),
        ("createDAGRunner().OpsFromString('AI.TENSORGET a')", "must start with |>"),
        ("createDAGRunner().OpsFromString('|> |> AI.TENSORGET a')", "Unsupported command within DAG"),
        (
            "createDAGRunner().OpsFromString('|> AI.MODELEXECUTE nokey INPUTS 1 a OUTPUTS 1 b')",
            "model key is empty",
        ),
        ("createDAGRunner().OpsFromString('|> AI.SCRIPTEXECUTE nokey f INPUTS 1 a')", "script key is empty"),
        ("createDAGRunner().OpsFromString('|> ai.modelrun s INPUTS a OUTPUTS b')", "WRONGTYPE"),
    ],
)
def test_what_does_not_fit_is_an_error(client: redis.Redis, expression: str, error: str) -> None:
    with pytest.raises(ResponseError, match=rf"gears\.error: .*{error.replace('|', '.')}"):
        client.execute_command("RG.PYEXECUTE", f"{A_AND_B}redisAI.{expression}")


@pytest.mark.parametrize(
    ("dag", "error"),
    [
        ("", "DAG is empty"),
        (".TensorGet('nothing')", "cannot be found in DAG"),
        (".Input('a', a).ModelRun(name='m', inputs=['a'], outputs=['c', 'd'])", "does not match"),
        (".Input('a', a).OpsFromString('|> AI.TENSORGET')", "wrong number of arguments"),
        (".Input('a', a).OpsFromString('|> AI.MODELEXECUTE')", "wrong number of arguments"),
    ],
)
def test_what_the_shard_refuses_of_a_dag_is_raised_by_its_run(
    client: redis.Redis, dag: str, error: str
) -> None:
    body = (
        f"    try:\n        await redisAI.createDAGRunner(){dag}.Run()\n"
        "    except Exception as e:\n        return type(e).__name__ + ': ' + str(e)\n"
    )
    answer = triggered(client, body).decode()
    assert answer.startswith("error: ")
    assert error in answer


EMPTY = "    none = redisAI.createTensorFromValues('FLOAT', [0, 4], [])\n"
SHAPES = "    return [redisAI.tensorGetDims(t) for t in res]\n"


@pytest.mark.parametrize(
    "run",
    [
        script_run("redisAI.scriptRunnerRun(r)", inputs=["none", "none"]),
        script_run("redisAI.scriptRunnerRun(r)", "old", "addtwo", inputs=["none", "none"]),
        "    d = redisAI.createDAGRunner().Input('x', none).ModelRun('m', ['x', 'x'], ['y', 'z'])\n"
        "    res = await d.TensorGet('y').Run()\n",
        "    redisAI.setTensorInKey('none', none)\n    res = [redisAI.getTensorFromKey('none')]\n",
    ],
)
def test_a_tensor_without_elements_is_one_like_others(client: redis.Redis, run: str) -> None:
    """As of a detector that has found nothing."""
    assert triggered(client, EMPTY + run + SHAPES) == b"[(0, 4)]"


def test_a_client_still_cannot_give_a_tensor_without_elements(client: redis.Redis) -> None:
    triggered(client, f"{EMPTY}    redisAI.setTensorInKey('none', none)\n    return 1\n")
    assert client.execute_command("AI.TENSORGET", "none", "META", "VALUES")[3:] == [[0, 4], b"values", []]
    with pytest.raises(ResponseError, match="value found in tensor shape"):
        client.execute_command("AI.TENSORSET", "none", "FLOAT", 0, 4)
