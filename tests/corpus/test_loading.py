"""Articles are on the shard of their name, once, and replaced whole when they change."""

from __future__ import annotations

from contextlib import closing

import pytest
import redis
from support.cluster import Cluster
from support.server import Server

from keymiss.client import Shard, connect, read_shards
from keymiss.corpus import Article, Loaded, Question, load_articles
from keymiss.corpus.tokenised import count_paragraphs
from keymiss.hashtags import slot_of
from keymiss.keys import Paragraph, changed_key, processed_key, samples_key, sentences_key

ARTICLES = [Article(f"article-{n}", (f"This is article {n}. It is short.",)) for n in range(20)]


@pytest.fixture
def shards(server: Server) -> list[Shard]:
    with closing(connect("127.0.0.1", server.port)) as client:
        return read_shards(client)


def test_each_article_is_a_hash_of_its_sentences(shards: list[Shard], client: redis.Redis) -> None:
    loaded = load_articles(shards, ARTICLES)
    assert (loaded.new, loaded.changed, loaded.same, loaded.paragraphs) == (20, 0, 0, 40)
    assert client.hgetall(sentences_key("article-3", "06S")) == {
        b"1": b"This is article 3.",
        b"2": b"It is short.",
    }


def test_loading_again_changes_nothing(shards: list[Shard], client: redis.Redis) -> None:
    load_articles(shards, ARTICLES)
    written = client.info("persistence")["rdb_changes_since_last_save"]
    loaded = load_articles(shards, ARTICLES)
    assert (loaded.new, loaded.changed, loaded.same) == (0, 0, 20)
    assert client.info("persistence")["rdb_changes_since_last_save"] == written


def test_an_article_that_changed_is_replaced_with_all_that_was_made_of_it(
    shards: list[Shard], client: redis.Redis
) -> None:
    load_articles(shards, [Article("a", ("One. Two. Three.",)), Article("ab", ("One.",))])
    second, other = Paragraph("a", "06S", "2"), Paragraph("ab", "06S", "1")
    for paragraph in (second, other):
        client.set(paragraph.tokens_key, "tokens")
        client.sadd(processed_key("06S"), paragraph.tokens_key)
        client.set(paragraph.question_key("why?"), "because")
    loaded = load_articles(shards, [Article("a", ("One. Other.",)), Article("ab", ("One.",))])
    assert (loaded.new, loaded.changed, loaded.same) == (0, 1, 1)
    assert client.hgetall(second.hash_key) == {b"1": b"One.", b"2": b"Other."}
    assert not client.exists(second.tokens_key, second.question_key("why?"))
    assert client.exists(other.tokens_key, other.question_key("why?")) == 2
    assert client.smembers(processed_key("06S")) == {other.tokens_key.encode()}


def test_the_next_load_forgets_the_answers_that_an_interrupted_one_left(
    shards: list[Shard], client: redis.Redis
) -> None:
    def interrupt(_: Loaded) -> None:
        raise KeyboardInterrupt

    load_articles(shards, [Article("a", ("One.",))])
    key = Paragraph("a", "06S", "1").question_key("why?")
    client.set(key, "because")
    changed = [Article("a", ("Another.",))]
    with pytest.raises(KeyboardInterrupt):
        load_articles(shards, changed, progress=interrupt)
    assert load_articles(shards, changed).same == 1
    assert not client.exists(key, changed_key("06S"))


def test_the_second_article_of_a_name_is_skipped_and_reported(
    shards: list[Shard], client: redis.Redis
) -> None:
    loaded = load_articles(shards, [Article("a", ("One.",)), Article("b", ("B.",)), Article("a", ("Two.",))])
    assert loaded.skipped == ["a"]
    assert client.hgetall(sentences_key("a", "06S")) == {b"1": b"One."}


def test_questions_that_come_apart_from_their_article_find_it(
    shards: list[Shard], client: redis.Redis
) -> None:
    questions = Article("a", (), (Question("What?", sentence="Two."),))
    load_articles(shards, [questions, Article("a", ("One. Two.",))])
    assert client.hgetall(samples_key("06S")) == {
        b"a": Paragraph("a", "06S", "2").question_key("What?").encode()
    }


def test_keys_that_are_no_articles_of_the_shard_have_no_paragraphs(
    shards: list[Shard], client: redis.Redis
) -> None:
    load_articles(shards, [Article("a", ("One. Two.",))])
    for key in ("sentence:42", "sentence::{06S}", "sentence:b:{8YG}"):
        client.hset(key, "1", "One.")
    assert count_paragraphs(client, "06S") == 2


def test_progress_is_told(shards: list[Shard]) -> None:
    told: list[int] = []
    load_articles(shards, ARTICLES, progress=lambda loaded: told.append(loaded.articles))
    assert told[-1] == 20


def test_a_cluster_holds_each_article_on_the_shard_of_its_name(cluster: Cluster) -> None:
    with closing(connect("127.0.0.1", cluster.masters[0].port)) as client:
        shards = read_shards(client)
    load_articles(shards, ARTICLES)
    used = set()
    for article in ARTICLES:
        (home,) = (
            shard for shard in shards if shard.slots[0][0] <= slot_of(article.name) <= shard.slots[0][1]
        )
        with closing(home.connect()) as client:
            assert client.exists(sentences_key(article.name, home.hash_tag))
        used.add(home.port)
    assert len(used) == 3
