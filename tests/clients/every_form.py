"""Uses AI, Gears and their asyncio forms, of a server and of a cluster, with the redis-py that it finds.

    python every_form.py PORT CLUSTER_PORT MODEL_FILE TAG...

The model gives the sum and the product of two tensors; the tags are those of the cluster's shards. Prints the
version of redis-py, once all has been as it should.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
import redis
import redis.asyncio

from keymiss.client import AI, AsyncAI, AsyncGears, Gears

CLIENTS: list[dict[str, Any]] = [{"protocol": 2}, {"protocol": 3}, {"protocol": 3, "decode_responses": True}]
LARGE = np.arange(100_000, dtype=np.float32).reshape(2, -1)  # is sent without being copied


def use(ai: AI, tag: str, blob: bytes) -> None:
    m, x, y, z = (name + tag for name in "mxyz")
    assert ai.modelstore(m, "TORCH", "CPU", blob, tag="v") == "OK"
    assert ai.modelget(m)["blob"] == blob
    assert [m, "v"] in ai.modelscan()
    for array in (LARGE, np.array([[1, 2]], np.float32)):
        assert ai.tensorset(x, array) == "OK"
        assert np.array_equal(ai.tensorget(x), array)
    assert ai.modelexecute(m, [x, x], [y, z], timeout=60_000) == "OK"
    assert ai.tensorget(z, as_numpy=False)["values"] == [1, 4]
    dag = ai.dag(load=x, persist=[y]).tensorset("two", LARGE[:1, 2:4]).modelexecute(m, [x, "two"], [y, z])
    assert dag.tensorget(z).execute()[2].tolist() == [[2, 6]]
    pipe = ai.pipeline(transaction=False).tensorset(x, ["a", "č"]).tensorget(x)
    pipe.redis.set(f"k{tag}", 1)
    stored, strings, kept = pipe.execute()
    assert (stored, strings.tolist(), kept) == ("OK", ["a", "č"], True)
    size = ai.config("MODEL_CHUNK_SIZE")
    assert ai.config("MODEL_CHUNK_SIZE", size or 0) == "OK"
    try:
        ai.tensorget(f"none{tag}")
    except redis.ResponseError as error:
        assert "tensor key is empty" in str(error)
    else:
        raise AssertionError("there is no such tensor")


def use_functions(gears: Gears, shards: int) -> None:
    builder = gears.builder("ShardsIDReader").map(lambda shard: shards).count()
    assert builder.run() == ([shards], [])
    execution = builder.start()
    assert execution.results() == ([shards], [])
    execution.drop()


async def await_functions(gears: AsyncGears, shards: int) -> None:
    builder = gears.builder("ShardsIDReader").count()
    assert await builder.run() == ([shards], [])
    assert await (await builder.start()).results() == ([shards], [])


async def await_use(ai: AsyncAI, tag: str, blob: bytes) -> None:
    m, x, y, z = (name + tag for name in "mxyz")
    pipe = ai.pipeline(transaction=False).tensorset(x, LARGE).tensorget(x)
    pipe.redis.set(f"k{tag}", 1)
    stored, got, kept = await pipe.execute()
    assert (stored, np.array_equal(got, LARGE), kept) == ("OK", True, True)
    assert await ai.modelstore(m, "TORCH", "CPU", blob, tag="v") == "OK"
    assert [m, "v"] in await ai.modelscan()
    assert await ai.tensorset(x, np.array([[1, 2]], np.float32)) == "OK"
    assert await ai.modelexecute(m, [x, x], [y, z]) == "OK"
    assert (await ai.tensorget(z)).tolist() == [[1, 4]]
    dag = ai.dag(load=x).modelexecute(m, [x, x], [y, z]).tensorget(y)
    assert (await dag.execute())[1].tolist() == [[2, 4]]
    size = await ai.config("MODEL_CHUNK_SIZE")
    assert await ai.config("MODEL_CHUNK_SIZE", size or 0) == "OK"


async def await_all(ports: list[int], tags: list[str], blob: bytes) -> None:
    for options in CLIENTS:
        server = redis.asyncio.Redis(host="127.0.0.1", port=ports[0], **options)
        cluster = redis.asyncio.RedisCluster(host="127.0.0.1", port=ports[1], **options)
        async with server, cluster:
            await await_use(AsyncAI(server), "", blob)
            await await_functions(AsyncGears(server), 1)
            await await_functions(AsyncGears(cluster), len(tags))
            for tag in tags:
                await await_use(AsyncAI(cluster), tag, blob)


def main() -> None:
    ports, blob, tags = [int(port) for port in sys.argv[1:3]], Path(sys.argv[3]).read_bytes(), sys.argv[4:]
    for options in CLIENTS:
        server = redis.Redis(host="127.0.0.1", port=ports[0], **options)
        use(AI(server), "", blob)
        use_functions(Gears(server), 1)
        if not options.get("decode_responses"):
            with AI(server).pipeline() as pipe:
                assert pipe.tensorset("x", LARGE).tensorget("x").execute()[1].shape == LARGE.shape
                pipe.redis.watch("x")
                assert pipe.tensorget("x").shape == LARGE.shape
        cluster = redis.RedisCluster(host="127.0.0.1", port=ports[1], **options)
        use_functions(Gears(cluster), len(tags))
        for tag in tags:
            use(AI(cluster), tag, blob)
        server.close()
        cluster.close()
    asyncio.run(await_all(ports, tags, blob))
    print(redis.__version__)


main()
