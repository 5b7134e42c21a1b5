"""keymiss.client.AsyncAI: the same as AI, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
import redis.asyncio
from support import torch_models
from support.server import CLIENT_TIMEOUT_S, Server

from keymiss.client import AsyncAI

CLIENTS: list[dict[str, Any]] = [{"protocol": 2}, {"protocol": 3, "decode_responses": True}]
SCRIPT = """
def times(tensors: List[Tensor], keys: List[str], args: List[str]):
    return tensors[0] * float(args[0])
"""

Run = Callable[[Callable[[AsyncAI], Awaitable[None]]], None]


@pytest.fixture(params=CLIENTS, ids=str)
def run(request: pytest.FixtureRequest, server: Server) -> Run:
    """Runs a coroutine with a client of `server`, closed at its end."""

    async def with_client(body: Callable[[AsyncAI], Awaitable[None]]) -> None:
        client = redis.asyncio.Redis(
            host="127.0.0.1", port=server.port, socket_timeout=CLIENT_TIMEOUT_S, **request.param
        )
        try:
            await body(AsyncAI(client))
        finally:
            await client.aclose()

    return lambda body: asyncio.run(with_client(body))


async def _store(ai: AsyncAI) -> None:
    await ai.modelstore("m", "TORCH", "CPU", torch_models.sum_and_product(), tag="v1")
    await ai.tensorset("a", np.array([1, 2, 3], np.float32))


def test_tensors_go_and_come_back(run: Run) -> None:
    async def body(ai: AsyncAI) -> None:
        large = np.arange(300_000, dtype=np.float64).reshape(3, -1)
        assert await ai.tensorset("x", large) == "OK"
        got = await ai.tensorget("x")
        np.testing.assert_array_equal(got, large)
        assert not got.flags.writeable
        assert (await ai.tensorget("x", as_numpy_mutable=True)).flags.writeable
        assert await ai.tensorget("x", meta_only=True) == {"dtype": "DOUBLE", "shape": [3, 100_000]}
        await ai.tensorset("s", ["a", "č"])
        assert (await ai.tensorget("s")).tolist() == ["a", "č"]
        with pytest.raises(redis.ResponseError, match="tensor key is empty"):
            await ai.tensorget("none")

    run(body)


def test_models_run(run: Run) -> None:
    async def body(ai: AsyncAI) -> None:
        await _store(ai)
        assert (await ai.modelget("m"))["blob"] == torch_models.sum_and_product()
        assert await ai.modelscan() == [["m", "v1"]]
        assert await ai.modelexecute("m", ["a", "a"], ["b", "c"]) == "OK"
        assert (await ai.tensorget("c")).tolist() == [1, 4, 9]
        assert (await ai.infoget("m"))["calls"] == 1
        assert await ai.config("NONE") is None
        assert await ai.modeldel("m") == "OK"

    run(body)


def test_many_at_once_each_get_their_own(run: Run) -> None:
    async def body(ai: AsyncAI) -> None:
        await _store(ai)

        async def square(n: int) -> list[float]:
            await ai.tensorset(f"x{n}", np.array([n], np.float32))
            await ai.modelexecute("m", [f"x{n}", f"x{n}"], [f"y{n}", f"z{n}"])
            return list(await ai.tensorget(f"z{n}"))

        assert await asyncio.gather(*map(square, range(20))) == [[n * n] for n in range(20)]

    run(body)


def test_scripts_run(run: Run) -> None:
    async def body(ai: AsyncAI) -> None:
        await _store(ai)
        assert await ai.scriptstore("s", "CPU", SCRIPT, "times") == "OK"
        assert (await ai.scriptget("s"))["source"] == SCRIPT
        assert await ai.scriptexecute("s", "times", inputs=["a"], args=[2], outputs=["b"]) == "OK"
        assert (await ai.tensorget("b")).tolist() == [2, 4, 6]
        assert await ai.scriptscan() == [["s", ""]]

    run(body)


def test_dags_run(run: Run) -> None:
    async def body(ai: AsyncAI) -> None:
        await _store(ai)
        dag = ai.dag(load="a", persist=["b"]).modelexecute("m", ["a", "a"], ["b", "c"]).tensorget("c")
        assert (await dag.execute())[1].tolist() == [1, 4, 9]
        assert (await ai.tensorget("b")).tolist() == [2, 4, 6]
        with pytest.raises(redis.ResponseError):
            await ai.dag(load="none").tensorget("none").execute()

    run(body)


def test_pipelines_mix_with_commands_of_redis(run: Run) -> None:
    async def body(ai: AsyncAI) -> None:
        await _store(ai)
        async with ai.pipeline(transaction=False) as pipe:
            pipe.tensorset("x", np.ones(3, np.float32)).modelexecute("m", ["a", "x"], ["b", "c"])
            pipe.redis.set("k", 1)
            stored, run, kept, got = await pipe.tensorget("b").execute()
        assert (stored, run, kept, got.tolist()) == ("OK", "OK", True, [2, 3, 4])

    run(body)


def test_a_pipeline_that_failed_or_was_left_begins_anew(run: Run) -> None:
    async def body(ai: AsyncAI) -> None:
        await ai.redis.set("k", 1)
        async with ai.pipeline(transaction=False) as pipe:
            with pytest.raises(redis.ResponseError, match="tensor key is empty"):
                await pipe.tensorget("none").execute()
            pipe.redis.incr("k")
            assert await pipe.execute() == [2]
            pipe.tensorget("none")
        pipe.redis.incr("k")
        assert await pipe.execute() == [3]

    run(body)


def test_a_pipeline_that_watches_gives_results_at_once(run: Run) -> None:
    async def body(ai: AsyncAI) -> None:
        await _store(ai)
        async with ai.pipeline(transaction=False) as pipe:
            await pipe.redis.watch("a")
            got = await pipe.tensorget("a")
            pipe.redis.multi()
            pipe.redis.incr("k")
            assert await pipe.tensorset("b", got * 2).execute() == [1, "OK"]
        assert (await ai.tensorget("b")).tolist() == [2, 4, 6]

    run(body)
