"""Answers by GET through a cluster are as right as those of the same model called directly in Python."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import pytest
from accuracy import direct, heldout
from accuracy.heldout import Item
from support.command_line import command_line
from support.paths import shared_folder

from keymiss.client import Shard, connect, read_shards
from keymiss.keys import Paragraph
from keymiss.qa import metric

CLIENTS = 4
TIMEOUT_S = 120.0
TOLERANCE = 0.3  # of exact match and of F1, in percent

# The model's answers do not depend on the server: each format runs on one kind, unless all is asked for.
FORMAT_ON = {"redis": "torch", "valkey": "onnx"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shared_folder() is None, reason="no shared folder beside the repository"),
]


@cache
def _items(name: str) -> list[Item]:
    shared = shared_folder()
    assert shared is not None
    return heldout.items(name, shared / "data")


@cache
def _direct_answers(name: str) -> list[str]:
    return direct.answers(_items(name))


@dataclass(frozen=True)
class Deployment:
    """A cluster that answers questions about every paragraph of all sets."""

    shards: list[Shard]

    def ask_all(self, items: list[Item]) -> list[str]:
        """The answers, in order, asked by several clients at once."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(self._ask, items))

    def _ask(self, item: Item) -> str:
        shard = _shard_of(item, self.shards)
        with connect(shard.host, shard.port, TIMEOUT_S) as client:
            answer = client.get(Paragraph(item.name, shard.hash_tag, "1").question_key(item.question))
        assert isinstance(answer, bytes), f"nothing answers {item.name}"
        return answer.decode()


@pytest.fixture(
    scope="module",
    params=sorted(FORMAT_ON.values()) if heldout.FULL else [None],
    ids=lambda form: form or "one-format",
)
def deployment(
    server_kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Brought up and filled as a user would, the model stored in one of its formats."""
    model_format = request.param or FORMAT_ON[server_kind]
    with command_line(server_kind, tmp_path_factory.mktemp("accuracy")) as keymiss:
        keymiss.up("--shards", "3")
        keymiss("model", "store", "--backend", model_format, "--precision", "fp32")
        with connect("127.0.0.1", keymiss.port) as client:
            shards = read_shards(client)
        _load(shards)
        keymiss("deploy")
        yield Deployment(shards)


def _load(shards: list[Shard]) -> None:
    """Each paragraph as the only one of an article of its own."""
    for shard in shards:
        with shard.connect() as client, client.pipeline(transaction=False) as pipeline:
            for name in heldout.SETS:
                for item in _items(name):
                    if _shard_of(item, shards) is shard:
                        pipeline.hset(Paragraph(item.name, shard.hash_tag, "1").hash_key, "1", item.paragraph)
            pipeline.execute()


def _shard_of(item: Item, shards: list[Shard]) -> Shard:
    return shards[sum(item.name.encode()) % len(shards)]


@pytest.mark.parametrize("name", heldout.SETS)
def test_answers_by_get_score_as_those_of_the_model_in_python(deployment: Deployment, name: str) -> None:
    items = _items(name)
    golds = [item.golds for item in items]
    by_get, by_python = deployment.ask_all(items), _direct_answers(name)
    scores = metric.score(by_get, golds), metric.score(by_python, golds)
    print(f"{name}, {len(items)} questions: EM and F1 {scores[0]} by GET, {scores[1]} in Python")
    assert scores[0] == pytest.approx(scores[1], abs=TOLERANCE)
