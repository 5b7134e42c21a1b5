"""The examples of RedisAI 1.2's documents, typed into the server's own command line, print what they show.

What is typed and what it prints are facts of its pages on commands and configuration, and of RedisGears' page
on RedisAI; `redisai_examples.txt` has them. Left out is what the pages contradict themselves in (an older
header before the values of AI.TENSORGET) and what needs a model that is not at hand: small ones with the same
inputs and outputs take its place.
"""

from __future__ import annotations

import subprocess
from itertools import takewhile
from pathlib import Path

import pytest
from support import graph_defs, torch_models
from support.server import Server

TIMEOUT_S = 60.0
PROMPT = "redis> "
SESSIONS = Path(__file__).with_name("redisai_examples.txt")

ADDTWO = """\
def addtwo(tensors: List[Tensor], keys: List[str], args: List[str]):
    a = tensors[0]
    b = tensors[1]
    return a + b
"""
OLD_ADDTWO = "def addtwo(a, b):\n    return a + b\n"
VARIADIC = "def addn(a, args : List[Tensor]):\n    return a + torch.stack(args).sum()\n"
ADDN = """\
def addn(tensors: List[Tensor], keys: List[str], args: List[str]):
    return torch.stack(tensors).sum(0)
"""
REDIS_SCRIPT = """\
def redis_string_int_to_tensor(redis_value: Any):
    return torch.tensor(int(str(redis_value)))

def int_set_get(tensors: List[Tensor], keys: List[str], args: List[str]):
    key = keys[0]
    value = args[0]
    redis.execute("SET", key, value)
    res = redis.execute("GET", key)
    return redis_string_int_to_tensor(res)
"""
MULTIPLY = """\
def multiply(tensors: List[Tensor], keys: List[str], args: List[str]):
    return tensors[0] * tensors[1]
"""

# RedisGears' page; its model of TensorFlow, the product of its inputs, is one of PyTorch here.
FUNCTIONS = """\
import redisAI

async def ModelRun(record):
    tensor_a = redisAI.createTensorFromValues('FLOAT', [2,2], [1.0, 2.0, 3.0, 4.0])
    tensor_b = redisAI.createTensorFromValues('FLOAT', [2,2], [2.0, 3.0, 2.0, 3.0])
    redisAI.msetTensorsInKeyspace({'a{1}': tensor_a, 'b{1}': tensor_b})
    modelRunner = redisAI.createModelRunner('my_model{1}')
    redisAI.modelRunnerAddInput(modelRunner, 'a', tensor_a)
    redisAI.modelRunnerAddInput(modelRunner, 'b', tensor_b)
    redisAI.modelRunnerAddOutput(modelRunner, 'sum')
    redisAI.modelRunnerAddOutput(modelRunner, 'c')
    res = await redisAI.modelRunnerRunAsync(modelRunner)
    redisAI.setTensorInKey('c{1}', res[1])
    return "ModelRun_OK"

async def ScriptRun(record):
    tensors = redisAI.mgetTensorsFromKeyspace(['a{1}', 'b{1}'])
    scriptRunner = redisAI.createScriptRunner('my_script{1}', 'multiply')
    redisAI.scriptRunnerAddInput(scriptRunner, tensors[0])
    redisAI.scriptRunnerAddInput(scriptRunner, tensors[1])
    redisAI.scriptRunnerAddOutput(scriptRunner)
    res = await redisAI.scriptRunnerRunAsync(scriptRunner)
    redisAI.setTensorInKey('d{1}', res[0])
    return "ScriptRun_OK"

async def DAGRun(record):
    tensors = redisAI.mgetTensorsFromKeyspace(['a{1}', 'b{1}'])
    DAGRunner = redisAI.createDAGRunner()
    DAGRunner.Input('tensor_a', tensors[0]).Input('tensor_b', tensors[1])
    DAGRunner.OpsFromString('|> AI.MODELEXECUTE my_model{1} INPUTS 2 tensor_a tensor_b OUTPUTS 2 s tensor_c '
                            '|> AI.TENSORGET tensor_c')
    res = await DAGRunner.Run()
    redisAI.setTensorInKey('e{1}', res[0])
    return "DAG4_OK"

async def DAGRun_ScriptRunError(record):
    tensors = redisAI.mgetTensorsFromKeyspace(['a{1}', 'b{1}'])
    DAGRunner = redisAI.createDAGRunner()
    DAGRunner.Input('tensor_a', tensors[0])
    DAGRunner.Input('tensor_b', tensors[1])
    DAGRunner.ScriptRun(name='my_script{1}', func='no_func',
                        inputs=['tensor_a', 'tensor_b'], outputs=['tensor_c'])
    DAGRunner.TensorGet('tensor_c')
    try:
        res = await DAGRunner.Run()
    except Exception as e:
        return e

GB("CommandReader").map(ModelRun).register(trigger="ModelRun")
GB("CommandReader").map(ScriptRun).register(trigger="ScriptRun")
GB("CommandReader").map(DAGRun).register(trigger="DAGRun4")
GB("CommandReader").map(DAGRun_ScriptRunError).register(trigger="DAGRun_Error")
"""


class CommandLine:
    """redis-cli or valkey-cli, connected to a server."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._command = [f"{server.kind}-cli", "-p", str(server.port), "--no-raw"]
        self._folder = folder

    def pipe(self, data: bytes, command: str) -> None:
        """`cat file | redis-cli -x <command>`, with file holding `data`; it prints OK."""
        path = self._folder / "file"
        path.write_bytes(data)
        with path.open("rb") as file:
            assert self._run(["-x", *command.split()], stdin=file) == "OK"

    def follow(self, title: str) -> None:
        """Type in what stands behind each prompt of this session, and see that it prints what follows."""
        _, _, session = SESSIONS.read_text().partition(f"\n== {title}\n")
        for step in session.partition("\n== ")[0].strip().removeprefix(PROMPT).split(f"\n{PROMPT}"):
            command, *lines = step.split("\n")
            more = list(takewhile(lambda line: line.lstrip().startswith("|>"), lines))
            typed = " ".join([command, *more])
            assert self._run(typed.split()) == "\n".join(lines[len(more) :]), typed

    def _run(self, words: list[str], **options: object) -> str:
        done = subprocess.run(
            [*self._command, *words],
            capture_output=True,
            timeout=TIMEOUT_S,
            check=True,
            **options,  # type: ignore[call-overload]
        )
        return str(done.stdout.decode().removesuffix("\n"))


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> CommandLine:
    return CommandLine(server, tmp_path)


def test_tensors(cli: CommandLine) -> None:
    cli.follow("tensors")


def test_scripts(cli: CommandLine) -> None:
    cli.pipe(ADDTWO.encode(), "AI.SCRIPTSTORE myscript CPU TAG myscript:v0.1 ENTRY_POINTS 1 addtwo SOURCE")
    cli.follow("a script's source")
    cli.follow("scripts")


def test_scripts_of_many_inputs_and_with_commands(cli: CommandLine) -> None:
    cli.pipe(ADDN.encode(), "AI.SCRIPTSTORE myscript{tag} CPU ENTRY_POINTS 1 addn SOURCE")
    cli.follow("scripts of many inputs")
    cli.pipe(REDIS_SCRIPT.encode(), "AI.SCRIPTSTORE redis_scripts{1} CPU ENTRY_POINTS 1 int_set_get SOURCE")
    cli.follow("scripts that run commands")


def test_scripts_of_the_older_commands(cli: CommandLine) -> None:
    cli.pipe(OLD_ADDTWO.encode(), "AI.SCRIPTSET myscript CPU TAG myscript:v0.1 SOURCE")
    cli.pipe(VARIADIC.encode(), "AI.SCRIPTSET variadic CPU SOURCE")
    cli.follow("older scripts")


def test_models(cli: CommandLine) -> None:
    """Imports TensorFlow, since the documents' model is one of its graphs: seconds."""
    graph = graph_defs.graph(
        graph_defs.placeholder("a", graph_defs.FLOAT, None, 2),
        graph_defs.placeholder("b", graph_defs.FLOAT, None, 2),
        graph_defs.node("c", "Mul", "a", "b", T=graph_defs.FLOAT),
    )
    cli.pipe(graph, "AI.MODELSTORE mymodel TF CPU TAG imagenet:5.0 INPUTS 2 a b OUTPUTS 1 c BLOB")
    cli.follow("models")


def test_dags(cli: CommandLine) -> None:
    cli.pipe(torch_models.sum_and_product(), "AI.MODELSTORE mymodel{tag} TORCH CPU BLOB")
    cli.follow("dags")


def test_configuration(cli: CommandLine) -> None:
    cli.follow("configuration")


def test_functions_that_use_redisai(cli: CommandLine) -> None:
    cli.pipe(torch_models.sum_and_product(), "AI.MODELSTORE my_model{1} TORCH CPU BLOB")
    cli.pipe(MULTIPLY.encode(), "AI.SCRIPTSTORE my_script{1} CPU ENTRY_POINTS 1 multiply SOURCE")
    cli.pipe(FUNCTIONS.encode(), "RG.PYEXECUTE")
    cli.follow("functions")
