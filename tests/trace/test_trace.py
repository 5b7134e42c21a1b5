"""KEYMISS.TRACE: one question through the normal path, and the time of each stage of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import redis
from redis.exceptions import MovedError, NoPermissionError, ResponseError
from support import torch_models
from support.cluster import Cluster
from support.functions import answering_misses, register
from support.server import Server

from keymiss.client.tracing import COMMAND, Trace, TracedStage, read_trace

MARKED = """    with stage('mine'):
        with stage('inner'):
            execute('PING')
    with stage('cache'):
        execute('SET', record['key'], 'kept')
    override_reply('answer for ' + record['key'])
"""
MODEL_RUN = """    import redisAI
    runner = redisAI.createModelRunner('m{%s}')
    for name, values in (('a', [1.0]), ('b', [2.0])):
        tensor = redisAI.createTensorFromValues('FLOAT', [1, 1], values)
        redisAI.modelRunnerAddInput(runner, name, tensor)
    redisAI.modelRunnerAddOutput(runner, 'c')
    redisAI.modelRunnerAddOutput(runner, 'd')
    with stage('forward'):
        outputs = await redisAI.modelRunnerRunAsync(runner)
    override_reply(str(redisAI.tensorToFlatList(outputs[0])[0]))
"""


def traced(client: redis.Redis, key: str) -> Trace:
    return read_trace(client.execute_command(COMMAND, key))


def named(trace: Trace) -> dict[str, TracedStage]:
    return {stage.name: stage for stage in trace.stages}


def test_a_trace_tells_the_answer_and_the_stages_by_who_measured_them(client: redis.Redis) -> None:
    register(client, answering_misses("q:", MARKED))
    trace = traced(client, "q:1")
    assert (trace.answer, trace.error, trace.cached) == ("answer for q:1", None, False)
    assert [(one.name, one.worker, one.depth) for one in trace.stages] == [
        ("hook", "module", 0),
        ("queue", "module", 0),
        ("function", "module", 0),
        ("mine", "functions", 1),
        ("inner", "functions", 2),
        ("cache", "functions", 1),
        ("reply", "module", 0),
    ]
    stages = named(trace)
    order = [stages[name] for name in ("hook", "queue", "function", "reply")]
    for before, behind in pairwise(order):
        assert before.ended_us == behind.began_us, "the module's stages leave no gap"
    assert stages["mine"].took_us + stages["cache"].took_us <= stages["function"].took_us
    assert trace.total_us == stages["reply"].ended_us


def test_the_function_runs_also_where_the_answer_is_cached(client: redis.Redis) -> None:
    register(client, answering_misses("q:", MARKED))
    client.set("q:1", "old")
    trace = traced(client, "q:1")
    assert (trace.answer, trace.cached) == ("answer for q:1", True)
    assert client.get("q:1") == b"kept"


def test_errors_and_answers_that_never_come_are_told_with_their_stages(client: redis.Redis) -> None:
    register(client, answering_misses("e:", "    override_reply('-ERR there is none')\n"))
    register(client, answering_misses("f:", "    await asyncio.sleep(60)\n"))
    client.config_set("keymiss.job-timeout-ms", 100)
    trace = traced(client, "e:1")
    assert (trace.answer, trace.error) == (None, "there is none")
    late = traced(client, "f:1")
    assert late.error is not None
    assert "deadline" in late.error or "no answer within" in late.error
    assert named(late)["function"].took_us >= 90_000


def test_traces_at_the_same_time_have_their_own_stages(server: Server, client: redis.Redis) -> None:
    body = "    with stage(record['key']):\n        await asyncio.sleep(0.05)\n"
    register(client, answering_misses("s:", body + "    override_reply(record['key'])\n"))

    def one(key: str) -> Trace:
        with contextlib.closing(server.client()) as mine:
            return traced(mine, key)

    keys = [f"s:{n}" for n in range(8)]
    with ThreadPoolExecutor(len(keys)) as pool:
        traces = list(pool.map(one, keys))
    for key, trace in zip(keys, traces, strict=True):
        assert trace.answer == key
        assert [one.name for one in trace.stages if one.worker == "functions"] == [key]
    assert len({trace.request for trace in traces}) == len(keys)


@pytest.mark.parametrize(
    ("key", "words"), [("nothing", "no function answers this key"), ("q:list", "WRONGTYPE")]
)
def test_what_no_function_answers_is_told(client: redis.Redis, key: str, words: str) -> None:
    register(client, answering_misses("q:"))
    client.lpush("q:list", "x")
    with pytest.raises(ResponseError, match=words):
        client.execute_command(COMMAND, key)


def test_nothing_is_traced_where_nobody_can_wait(client: redis.Redis) -> None:
    register(client, answering_misses("q:"))
    with client.pipeline(transaction=True) as pipe:
        pipe.execute_command(COMMAND, "q:1")
        with pytest.raises(ResponseError, match="inside MULTI or a script"):
            pipe.execute()
    with pytest.raises(ResponseError, match="inside MULTI or a script"):
        client.eval("return redis.call('KEYMISS.TRACE', KEYS[1])", 1, "q:1")


def test_who_may_not_get_the_key_may_not_trace_it(
    client: redis.Redis, as_user: Callable[..., redis.Redis]
) -> None:
    register(client, answering_misses("q:"))
    assert traced(as_user("~q:mine*", "+get", "+keymiss.trace"), "q:mine").answer == "answer for q:mine"
    for rules in (("~*", "+keymiss.trace"), ("~*", "+get"), ("~other*", "+get", "+keymiss.trace")):
        with pytest.raises(NoPermissionError):
            as_user(*rules).execute_command(COMMAND, "q:mine")


def test_a_shard_of_a_cluster_traces_its_own_keys_and_the_pass_of_the_model(cluster: Cluster) -> None:
    shard, other = cluster.shards[:2]
    with contextlib.closing(shard.master.client()) as client:
        torch_models.store(client, f"m{{{shard.hash_tag}}}", torch_models.sum_and_product())
        register(client, answering_misses("q", MODEL_RUN % shard.hash_tag))
        trace = traced(client, f"q{{{shard.hash_tag}}}")
        with pytest.raises(MovedError):
            client.execute_command(COMMAND, f"q{{{other.hash_tag}}}")
    assert (trace.answer, trace.error) == ("3.0", None)
    stages = named(trace)
    assert stages["model pass"].facts == {"requests": 1, "rows": 1}
    for name in ("model queue", "model pass"):
        assert (stages[name].worker, stages[name].depth) == ("models", stages["forward"].depth + 1)
    assert stages["model queue"].ended_us == pytest.approx(stages["model pass"].began_us, abs=1)
