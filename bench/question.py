"""A deployed question: what answering it takes, and how much of that is the model's own forward pass."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import redis

from keymiss.client import connect, read_shards
from keymiss.keys import model_key, samples_key


@dataclass(frozen=True)
class Question:
    """A question key that a deployed shard answers by the model at `model`, and a client of that shard."""

    client: redis.Redis
    key: str
    model: str


@dataclass(frozen=True)
class Asked:
    """Milliseconds of one question: for the client, and of those in the forward pass."""

    whole_ms: float
    forward_ms: float

    @property
    def added_ms(self) -> float:
        return self.whole_ms - self.forward_ms


@contextmanager
def deployed_question(host: str, port: int) -> Iterator[Question | None]:
    """A sample question of the cluster at this address; None where none is up, or nothing was loaded."""
    try:
        with connect(host, port) as client:
            shards = read_shards(client)
    except redis.ConnectionError:
        yield None
        return
    for shard in shards:
        with shard.connect() as client:
            samples = client.hvals(samples_key(shard.hash_tag))
            if samples:
                yield Question(client, samples[0].decode(), model_key(shard.hash_tag))
                return
    yield None


def ask(question: Question, seconds: float) -> list[Asked]:
    """Ask one at a time for so long; each time in other words, so that no answer comes from the cache."""
    asked: list[Asked] = []
    end = time.monotonic() + seconds
    for n in itertools.takewhile(lambda n: n < 2 or time.monotonic() < end, itertools.count()):
        question.client.execute_command("AI.INFO", question.model, "RESETSTAT")
        started = time.perf_counter()
        question.client.get(f"{question.key} ({n})")
        whole_ms = (time.perf_counter() - started) * 1e3
        asked.append(Asked(whole_ms, _forward_ms(question)))
    return asked[1:]  # the first warms up


def _forward_ms(question: Question) -> float:
    """What AI.INFO says that the model took since its counters were reset."""
    reply = question.client.execute_command("AI.INFO", question.model)
    return int(dict(zip(reply[::2], reply[1::2], strict=True))[b"duration"]) / 1e3
