"""What brought the original servers down, or hung them, is answered here, and the server goes on.

The scripts are those noted beside the recordings, in `original_crashes_gears.md`.
"""

from __future__ import annotations

import threading

import pytest
import redis
from support import torch_models
from support.functions import register
from support.server import Server
from support.waiting import wait_until


def _answered(client: redis.Redis, *command: object) -> None:
    """By a value or by an error, and not by the job's deadline."""
    try:
        client.execute_command(*command)
    except redis.ResponseError as error:
        assert "timed out" not in str(error).lower()
    assert client.echo("in step") == b"in step"


def test_incrbyfloat_of_a_key_that_a_sync_function_watches(client: redis.Redis) -> None:
    register(client, "GB().foreach(lambda r: execute('PING')).register(prefix='k*', mode='sync')")
    assert client.incrbyfloat("k1", 1.5) == 1.5


SYNC_COROUTINES = {
    "with-commands": "async def f(r):\n    override_reply('x')\n"
    "GB().foreach(f).register(prefix='m*', commands=['get'], eventTypes=['keymiss'], mode='sync')",
    "without-commands": "async def f(r):\n    execute('SET', r['key'], 'x')\n"
    "GB().foreach(f).register(prefix='m*', eventTypes=['keymiss'], mode='sync')",
}


@pytest.mark.parametrize("script", SYNC_COROUTINES.values(), ids=SYNC_COROUTINES)
def test_a_coroutine_on_a_sync_miss(client: redis.Redis, script: str) -> None:
    try:
        register(client, script)
    except redis.ResponseError:
        return  # refused at once: as good
    for n in range(20):
        _answered(client, "GET", f"m{n}")
    with client.pipeline(transaction=True) as pipeline:
        pipeline.get("m:in-multi")
        pipeline.execute(raise_on_error=False)
    assert client.ping()


SCRIPTS = {
    "coroutine-that-raises-in-accumulate": "async def f(a, x):\n    raise Exception('in accumulate')\n"
    "def g():\n    yield 1\n    yield 2\nGB('PythonReader').accumulate(f).run(g)",
    "raw-result-beyond-64-bits": "def g():\n    yield 2**70\nGB('PythonReader').run(g, convertToStr=False)",
    "raw-result-with-a-surrogate": "def g():\n    yield '\\ud800'\n"
    "GB('PythonReader').run(g, convertToStr=False)",
    "value-that-is-no-tensor": "import redisAI\nredisAI.msetTensorsInKeyspace({'a': 1})",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_scripts_that_ended_the_original(client: redis.Redis, script: str) -> None:
    _answered(client, "RG.PYEXECUTE", script)


def test_an_override_beyond_64_bits(client: redis.Redis) -> None:
    register(
        client,
        "GB().foreach(lambda r: override_reply(2**70)).register("
        "prefix='m*', commands=['get'], eventTypes=['keymiss'], mode='async_local')",
    )
    _answered(client, "GET", "m1")


def test_models_run_by_execute_inside_a_script(client: redis.Redis) -> None:
    torch_models.store(client, "model", torch_models.doubler())
    torch_models.set_tensor(client, "in", 1.0, 2.0)
    _answered(
        client, "RG.PYEXECUTE", "execute('AI.MODELEXECUTE', 'model', 'INPUTS', 1, 'in', 'OUTPUTS', 1, 'out')"
    )


@pytest.mark.parametrize("key_type", ["stream", "empty"])
def test_listing_a_registration_on_streams_or_missing_keys(client: redis.Redis, key_type: str) -> None:
    register(client, f"GB().foreach(lambda r: r).register(prefix='k*', keyTypes=['{key_type}'])")
    assert len(client.execute_command("RG.DUMPREGISTRATIONS")) == 1
    assert client.info("everything")


def test_a_thread_of_a_script_that_calls_the_server_while_the_script_runs(client: redis.Redis) -> None:
    script = "from threading import Thread\nThread(target=lambda: execute('SET', 'th', 'done')).start()"
    _answered(client, "RG.PYEXECUTE", script)


ENDLESS = "def numbers():\n    while True:\n        yield 1\nGB('PythonReader').count().run(numbers)"


def test_a_reader_function_that_never_ends_leaves_the_server_serving(server: Server) -> None:
    """It runs until its deadline; meanwhile and afterwards everyone else is served."""
    with server.client() as client:
        client.config_set("keymiss.execution-timeout-ms", 2000)
        done = threading.Event()

        def run_script() -> None:
            with server.client() as other, pytest.raises(redis.ResponseError):
                other.execute_command("RG.PYEXECUTE", ENDLESS)
            done.set()

        threading.Thread(target=run_script, daemon=True).start()
        wait_until(done.is_set, 30.0, "the script is ended by its deadline")
        wait_until(
            lambda: client.execute_command("RG.PYEXECUTE", "execute('SET', 'key', 'value')") == b"OK",
            30.0,
            "the next script runs",
        )


def test_a_function_that_writes_the_key_that_fired_it(client: redis.Redis) -> None:
    """It triggers itself without end, as documented; unregistering it stops that."""
    register(
        client,
        "GB().foreach(lambda r: execute('SET', r['key'], 'x')).register(prefix='k*', mode='async_local')",
    )
    client.set("k1", "v")
    (registration,) = client.execute_command("RG.DUMPREGISTRATIONS")
    assert client.execute_command("RG.UNREGISTER", registration[1]) == b"OK"
    assert client.ping()
