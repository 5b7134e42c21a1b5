"""A script and an atomic function want the same shard and the same device: each gets what it waits for."""

from __future__ import annotations

import threading
from pathlib import Path

import redis
from inference import small_models
from support.server import Server

MANY = """\
def many(tensors: List[Tensor], keys: List[str], args: List[str]):
    for _ in range(int(args[0])):
        redis.execute('INCR', keys[0])
    return tensors[0]
"""
ATOMIC = """\
import redisAI
def run(_):
    with atomic():
        runner = redisAI.createModelRunner('m')
        redisAI.modelRunnerAddInput(runner, 'x', redisAI.getTensorFromKey('x'))
        redisAI.modelRunnerAddOutput(runner, 'y')
        return str(redisAI.tensorToFlatList(redisAI.modelRunnerRun(runner)[0]))
GB('CommandReader').map(run).register(trigger='run', mode='async_local')
"""


def test_a_model_of_an_atomic_function_runs_while_a_script_waits_for_its_shard(
    client: redis.Redis, server: Server, tmp_path: Path
) -> None:
    """The server's main thread serves nobody but the function, which waits for the device of the script."""
    blob = small_models.write(small_models.Linear(), tmp_path / "m.pt").read_bytes()
    client.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", blob)
    client.execute_command("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 1, "many", "SOURCE", MANY)
    client.execute_command("AI.TENSORSET", "x", "FLOAT", 1, 3, "VALUES", 1, 2, 3)
    client.execute_command("RG.PYEXECUTE", ATOMIC)
    call = ("AI.SCRIPTEXECUTE", "s", "many", "KEYS", 1, "n", "INPUTS", 1, "x", "ARGS", 1, 1000)
    replies: list[object] = []
    script = threading.Thread(target=lambda: replies.append(server.client().execute_command(*call)))
    script.start()
    runs = 0
    while script.is_alive() or not runs:
        assert client.execute_command("RG.TRIGGER", "run") == [b"[4.0, 8.25]"]
        runs += 1
    script.join()
    assert (replies, client.get("n")) == ([b"OK"], b"1000")
