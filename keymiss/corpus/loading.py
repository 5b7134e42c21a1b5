"""Articles into the shards: each on the shard that serves the slot of its name, nothing written twice.

An article whose stored paragraphs are the same is left alone. One that changed is replaced: in one
transaction its hash is written anew and the tensors of its old paragraphs go; after that the answers that
were cached for it, by the next load where this one is interrupted. Its new tensors are made by
gears/tokenise.py when it sees the hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import redis

from ..client import Shard, shard_of, text_of
from ..hashtags import slot_of
from ..keys import Paragraph, changed_key, processed_key, samples_key, sentences_key
from .articles import Article
from .derived import forget_answers
from .splitting import Numbered, number_paragraphs, sample_of

BATCH_ARTICLES = 64


@dataclass
class Loaded:
    """What a load did, in articles, and the paragraphs of all it read."""

    new: int = 0
    changed: int = 0
    same: int = 0
    paragraphs: int = 0
    skipped: list[str] = field(default_factory=list)  # names that came a second time: the first stays

    @property
    def articles(self) -> int:
        return self.new + self.changed + self.same


@dataclass
class _Target:
    """A shard while it is loaded."""

    shard: Shard
    client: redis.Redis
    changed: set[str] = field(default_factory=set)


def load_articles(
    shards: list[Shard],
    articles: Iterable[Article],
    unit: str = "sentence",
    language: str = "en",
    progress: Callable[[Loaded], None] = lambda _: None,
) -> Loaded:
    """Load `articles` into `shards`, telling `progress` after each batch. Redis's exceptions where a shard
    fails; what was loaded by then is whole, and loading again goes on from there."""
    loaded = Loaded()
    with ExitStack() as stack:
        targets = {shard: _Target(shard, stack.enter_context(closing(shard.connect()))) for shard in shards}
        questions: list[Article] = []
        for batch in _batches(_first_of_each(articles, questions, loaded)):
            groups: dict[Shard, list[tuple[str, Numbered]]] = {}
            for article in batch:
                numbered = number_paragraphs(article, unit, language)
                home = shard_of(slot_of(article.name), shards)
                groups.setdefault(home, []).append((article.name, numbered))
            for shard, group in groups.items():
                _load_group(targets[shard], group, loaded)
            progress(loaded)
        for article in questions:
            _add_sample(targets[shard_of(slot_of(article.name), shards)], article)
        for target in targets.values():
            _forget_answers(target)
    return loaded


def _first_of_each(
    articles: Iterable[Article], questions: list[Article], loaded: Loaded
) -> Iterator[Article]:
    """The articles with text, each name once; those that only hold questions are put aside in `questions`."""
    seen: set[str] = set()
    for article in articles:
        if not article.blocks:
            questions.append(article)
        elif article.name in seen:
            loaded.skipped.append(article.name)
        else:
            seen.add(article.name)
            yield article


def _batches(articles: Iterator[Article]) -> Iterator[list[Article]]:
    while batch := list(islice(articles, BATCH_ARTICLES)):
        yield batch


def _load_group(target: _Target, group: list[tuple[str, Numbered]], loaded: Loaded) -> None:
    tag = target.shard.hash_tag
    reading = target.client.pipeline(transaction=False)
    for name, _ in group:
        reading.hgetall(sentences_key(name, tag))
    stored = reading.execute()
    for (name, numbered), old in zip(group, stored, strict=True):
        have = {text_of(number): text_of(text) for number, text in old.items()}
        loaded.paragraphs += len(numbered.texts)
        if have == numbered.texts:
            loaded.same += 1
            continue
        _replace(target.client, name, tag, have, numbered)
        if have:
            loaded.changed += 1
            target.changed.add(name)
        else:
            loaded.new += 1


def _replace(client: redis.Redis, name: str, tag: str, have: dict[str, str], numbered: Numbered) -> None:
    writing = client.pipeline(transaction=True)
    if have:
        tensors = [Paragraph(name, tag, number).tokens_key for number in have]
        writing.unlink(sentences_key(name, tag), *tensors)
        writing.srem(processed_key(tag), *tensors)
        writing.hdel(samples_key(tag), name)
        writing.sadd(changed_key(tag), name)
    if numbered.texts:
        writing.hset(sentences_key(name, tag), mapping=dict[Any, Any](numbered.texts))
    if numbered.sample:
        question, number = numbered.sample
        writing.hset(samples_key(tag), name, Paragraph(name, tag, number).question_key(question))
    writing.execute()


def _forget_answers(target: _Target) -> None:
    """Those about articles that this load changed, or one before that did not come to it."""
    tag = target.shard.hash_tag
    changed = target.changed | {text_of(name) for name in target.client.smembers(changed_key(tag))}
    if changed:
        forget_answers(target.client, tag, changed)
        target.client.srem(changed_key(tag), *changed)


def _add_sample(target: _Target, article: Article) -> None:
    """Note the first of the article's questions that one of its stored paragraphs answers."""
    tag = target.shard.hash_tag
    stored = target.client.hgetall(sentences_key(article.name, tag))
    sample = sample_of(article, {text_of(number): text_of(text) for number, text in stored.items()})
    if sample is not None:
        question, number = sample
        key = Paragraph(article.name, tag, number).question_key(question)
        target.client.hset(samples_key(tag), article.name, key)
