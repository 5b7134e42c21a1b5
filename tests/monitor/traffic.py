"""Work of every kind for a monitored cluster, some of which fails."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import numpy as np
import redis
from monitor.deployment import Monitored
from redis.exceptions import ResponseError

from keymiss.keys import Paragraph, model_key

ARTICLES = ("hiv", "measles")
QUESTIONS = ("What is this about?", "Who found it?", "Which cells does it infect?", "When?")
TOKENS = 12

# `wait` answers after as many seconds as the key says; `hold` waits while there is a key `held{tag}`.
FUNCTIONS = """
import asyncio
from time import sleep

async def wait(record):
    await asyncio.sleep(float(record['key'].rpartition(':')[2]))
    override_reply('waited')

def hold(record):
    tag = record['key'].partition('{')[2].partition('}')[0]
    while execute('EXISTS', 'held{%s}' % tag):
        sleep(0.05)

async def fail(record):
    raise ValueError('on purpose')

GB('KeysReader', desc='wait').map(wait).register(
    prefix='wait:*', commands=['get'], eventTypes=['keymiss'], mode='async_local')
GB('KeysReader', desc='note').foreach(lambda record: record).register(
    prefix='noted:*', eventTypes=['set'], mode='async_local', readValue=False)
GB('StreamReader', desc='hold').foreach(hold).register('entries:*', mode='async_local')
GB('CommandReader', desc='fail').map(fail).register(trigger='fail', mode='async_local')
"""


def register(monitored: Monitored) -> None:
    """The functions that traffic and faults need, on every shard."""
    with closing(monitored.client("shard-1")) as client:
        assert client.execute_command("RG.PYEXECUTE", FUNCTIONS, "ID", "monitor-test") == b"OK"


def send(monitored: Monitored, number: int) -> None:
    """One round, `number` telling its questions from those of other rounds: on each shard questions that miss
    and hit and meet each other, events, entries, executions, runs of the model, errors of several kinds."""
    for shard, tag in monitored.tags.items():
        with closing(monitored.client(shard)) as client:
            _ask(monitored, shard, tag, number)
            _fire(client, tag)
            _run_the_model(client, tag)
            _fail(client, tag)


def stored(client: redis.Redis, tag: str) -> list[str]:
    """The articles of ARTICLES that this shard holds."""
    return [article for article in ARTICLES if client.exists(Paragraph(article, tag, "1").hash_key)]


def _ask(monitored: Monitored, shard: str, tag: str, number: int) -> None:
    with closing(monitored.client(shard)) as client:
        keys = [
            Paragraph(article, tag, "2").question_key(f"{question} ({number})")
            for article in stored(client, tag)
            for question in QUESTIONS
        ]
    keys += [f"wait:{{{tag}}}{number}:0.05"]
    with ThreadPoolExecutor(4) as pool:  # one of them computes, the others join it; then the answer is cached
        list(pool.map(lambda key: _get(monitored, shard, key), [key for key in keys for _ in range(4)]))


def _get(monitored: Monitored, shard: str, key: str) -> None:
    with closing(monitored.client(shard)) as client:
        assert isinstance(client.get(key), bytes)


def _fire(client: redis.Redis, tag: str) -> None:
    for n in range(5):
        client.set(f"noted:{{{tag}}}{n}", n)
        client.xadd(f"entries:{{{tag}}}", {"n": n})
    client.execute_command("RG.PYEXECUTE", "GB('KeysReader').count().run('noted:*')")


def _run_the_model(client: redis.Redis, tag: str) -> None:
    names = _tensors(client, tag, np.int64)
    outputs = [f"output-{n}{{{tag}}}" for n in range(2)]
    run = ("AI.MODELEXECUTE", model_key(tag), "INPUTS", 3, *names, "OUTPUTS", 2, *outputs)
    assert client.execute_command(*run) == b"OK"


def _fail(client: redis.Redis, tag: str) -> None:
    names = _tensors(client, tag, np.float32)  # no tokens
    outputs = [f"output-{n}{{{tag}}}" for n in range(2)]
    for command in (
        ("AI.MODELEXECUTE", model_key(tag), "INPUTS", 3, *names, "OUTPUTS", 2, *outputs),
        ("RG.TRIGGER", "fail"),
        ("RG.PYEXECUTE", "GB('KeysReader').map(lambda record: 1 / 0).run('noted:*')"),
        ("GET", Paragraph("nothing", tag, "1").question_key("Why?")),
    ):
        with suppress(ResponseError):
            client.execute_command(*command)


def _tensors(client: redis.Redis, tag: str, dtype: type) -> Sequence[str]:
    names = [f"{name}{{{tag}}}" for name in ("ids", "mask", "types")]
    for name in names:
        values = np.ones((1, TOKENS), dtype)
        client.execute_command("AI.TENSORSET", name, _NAMES[dtype], 1, TOKENS, "BLOB", values.tobytes())
    return names


_NAMES: dict[type, str] = {np.int64: "INT64", np.float32: "FLOAT"}
