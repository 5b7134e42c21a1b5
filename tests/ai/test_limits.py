"""What is too large for a worker or for the shard is an error of whoever asked: the worker goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from support import torch_models, torch_scripts
from support.server import Server
from support.torch_scripts import execute

MOST_DIMENSIONS = 64
SMALLEST_FRAME = 1 << 16  # keymiss.max-frame-bytes may be set to


@pytest.fixture
def unharmed(server: Server, client: redis.Redis) -> Iterator[redis.Redis]:
    """A client whose models worker is the same one at the end."""
    torch_models.set_tensor(client, "x", 1.0)
    torch_models.store(client, "m", torch_models.doubler())
    torch_scripts.store(client, "s", "f", "return tensors[0]")
    execute(client, "s f INPUTS 1 x OUTPUTS 1 y")
    before = server.wait_for_worker("models")
    yield client
    execute(client, "s f INPUTS 1 x OUTPUTS 1 y")
    assert server.wait_for_worker("models") == before


def test_models_and_scripts_take_tensors_of_as_many_dimensions_as_can_be_stored(
    unharmed: redis.Redis,
) -> None:
    shape = [1] * MOST_DIMENSIONS
    unharmed.execute_command("AI.TENSORSET", "deep", "FLOAT", *shape, "VALUES", 21)
    execute(unharmed, "s f INPUTS 1 deep OUTPUTS 1 same")
    unharmed.execute_command("AI.MODELEXECUTE", "m", "INPUTS", 1, "deep", "OUTPUTS", 1, "doubled")
    assert unharmed.execute_command("AI.TENSORGET", "same", "VALUES") == [b"21"]
    meta = [b"dtype", b"FLOAT", b"shape", shape, b"values", [b"42"]]
    assert unharmed.execute_command("AI.TENSORGET", "doubled", "META", "VALUES") == meta


def many_outputs(client: redis.Redis, count: int) -> tuple[list[str], list[str]]:
    """Commands with so many outputs: a script, and a DAG that gives the last of them."""
    torch_scripts.store(client, "many", "g", f"return [tensors[0]] * {count}")
    names = [f"y{n}" for n in range(count)]
    script = ["AI.SCRIPTEXECUTE", "many", "g", "INPUTS", "1", "x", "OUTPUTS", str(count), *names]
    dag = ["AI.DAGEXECUTE", "LOAD", "1", "x", "|>", *script]
    return script, [*dag, "|>", "AI.TENSORGET", names[-1], "VALUES"]


def test_a_script_has_as_many_outputs_as_go_into_an_answer(unharmed: redis.Redis) -> None:
    script, dag = many_outputs(unharmed, 70_000)
    assert unharmed.execute_command(*script) == b"OK"
    assert unharmed.execute_command("AI.TENSORGET", "y69999", "VALUES") == [b"1"]
    assert unharmed.execute_command(*dag) == [b"OK", [b"1"]]


def test_more_outputs_than_go_into_an_answer_are_an_error(unharmed: redis.Redis) -> None:
    script, dag = many_outputs(unharmed, 400_000)
    with pytest.raises(redis.ResponseError, match=r"the answer is too large: it has 12000\d\d elements"):
        unharmed.execute_command(*script)
    assert unharmed.execute_command(*dag) == [b"OK", [b"1"]]  # which gives one of them
    assert not unharmed.exists("y0")


@pytest.fixture
def small_frames(unharmed: redis.Redis) -> Iterator[redis.Redis]:
    unharmed.config_set("keymiss.max-frame-bytes", SMALLEST_FRAME)
    yield unharmed
    unharmed.config_set("keymiss.max-frame-bytes", 1 << 30)


TOO_LARGE = r"the answer is too large: it has \d+ bytes, 65536 are allowed \(keymiss.max-frame-bytes\)"


@pytest.mark.parametrize("times", [1, 30], ids=["first", "quick"])
def test_an_output_larger_than_a_frame_may_be_is_an_error(small_frames: redis.Redis, times: int) -> None:
    torch_models.store(small_frames, "w", torch_models.repeated())
    torch_scripts.store(small_frames, "l", "g", f"return tensors[0].repeat({SMALLEST_FRAME})")
    for _ in range(times):
        with pytest.raises(redis.ResponseError, match=TOO_LARGE):
            torch_models.execute(small_frames, "w", "x", "y")
        with pytest.raises(redis.ResponseError, match=TOO_LARGE):
            execute(small_frames, "l g INPUTS 1 x OUTPUTS 1 y")
    with small_frames.pipeline(transaction=False) as pipe:
        for _ in range(times):
            pipe.execute_command("AI.MODELEXECUTE", "w", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
        assert all("too large" in str(error) for error in pipe.execute(raise_on_error=False))


def test_a_command_of_a_script_larger_than_a_frame_may_be_is_its_error(small_frames: redis.Redis) -> None:
    torch_scripts.store(
        small_frames,
        "e",
        "g",
        "text = 'x'",
        "for _ in range(16):",
        "    text = text + text",
        "redis.execute('SET', 'k', text)",
        "return tensors[0]",
    )
    with pytest.raises(redis.ResponseError, match=r"the command is too large: it has .* bytes"):
        execute(small_frames, "e g INPUTS 1 x OUTPUTS 1 y")


def test_a_run_of_a_function_larger_than_a_frame_may_be_is_its_error(
    server: Server, small_frames: redis.Redis
) -> None:
    function = f"""
import redisAI
def large(record):
    runner = redisAI.createModelRunner('m')
    values = [1.0] * {SMALLEST_FRAME}
    redisAI.modelRunnerAddInput(runner, 'x', redisAI.createTensorFromValues('FLOAT', [len(values)], values))
    redisAI.modelRunnerAddOutput(runner, 'y')
    return redisAI.modelRunnerRun(runner)
GB('CommandReader').map(large).register(trigger='large')
"""
    small_frames.execute_command("RG.PYEXECUTE", function)
    before = server.wait_for_worker("functions")
    with pytest.raises(redis.ResponseError, match=r"a run is too long: it has \d+ bytes"):
        small_frames.execute_command("RG.TRIGGER", "large")
    assert server.wait_for_worker("functions") == before
