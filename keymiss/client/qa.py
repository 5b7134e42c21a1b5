"""Questions about many paragraphs at once: QA on a synchronous client of redis-py, AsyncQA on an asyncio one;
of a server or a cluster to which `keymiss deploy` has sent its functions.

    qa = QA(redis.RedisCluster("127.0.0.1", 30001))
    found = qa.ask("When were adenoviruses first isolated?", ["adenovirus", "pcr:2"])
    print(found.best.text, found.best.paragraph, found.best.margin)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .asking import KEY_AT, Answers, ParagraphAnswer, grouped, joined, names_of, read_rows, words_of
from .base import AsyncClient, Client
from .commands import Command, Where


class QA(Client):
    """Questions by `client`, a redis.Redis or a redis.RedisCluster, which stays usable for everything else.

    Threads may share it. TypeError for an asyncio client.
    """

    _counterpart = "AsyncQA"

    def ask(self, question: str, paragraphs: str | Iterable[str]) -> Answers:
        """Ask one question of many paragraphs: ARTICLE:NUMBER, or ARTICLE for all of its paragraphs.

        Each shard runs its own together. What cannot be asked (there is no such paragraph) is an error in its
        place; the others are answered. ValueError for a name that cannot be one, redis.ResponseError where a
        shard has no such function, or is asked about more paragraphs than it answers at once.
        """
        names = names_of(paragraphs)
        commands = _commands(question, names, self.redis if self._in_cluster else None)
        if len(commands) == 1:
            return joined(names, [self.run(commands[0])])
        with ThreadPoolExecutor(max(1, len(commands))) as pool:
            return joined(names, pool.map(self.run, commands))


class AsyncQA(AsyncClient):
    """Questions by `client`, a redis.asyncio.Redis or RedisCluster, which stays usable for everything else.

    TypeError for a synchronous client.
    """

    _counterpart = "QA"

    async def ask(self, question: str, paragraphs: str | Iterable[str]) -> Answers:
        """As `QA.ask`."""
        names = names_of(paragraphs)
        if self._in_cluster:
            await self.redis.initialize()  # does nothing but the first time: where the slots are
        commands = _commands(question, names, self.redis if self._in_cluster else None)
        return joined(names, await asyncio.gather(*map(self.run, commands)))


def _commands(question: str, names: list[str], cluster: Any) -> list[Command[Sequence[ParagraphAnswer]]]:
    """One for each shard."""
    groups = grouped(names, cluster.get_node_from_key if cluster else lambda article: None)
    asked = [words_of(question, group) for group in groups.values()]
    return [Command(words, read_rows, Where.TOLD_KEY, routing=words[KEY_AT]) for words in asked]
