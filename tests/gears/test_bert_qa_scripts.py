"""Scripts of the kinds that the public BERT-QA demos deploy, typed as their docs show them.

A batch function that tokenises hashes, the same one registered on new hashes, one that tells the hash tag of
every shard, and a coroutine that answers GETs of keys that are not there. A tokeniser of one line stands for
the real one.
"""

from __future__ import annotations

import redis
from support.waiting import wait_until

TOKENISER = """
vocabulary = None

def load_vocabulary():
    return {}

def ids(text):
    global vocabulary
    if vocabulary is None:
        vocabulary = load_vocabulary()
    return [vocabulary.setdefault(word, len(vocabulary) + 1) for word in text.split()]

def parse_sentence(record):
    import redisAI
    shard = hashtag()
    for n, sentence in sorted(record['value'].items()):
        numbers = ids(sentence)
        tensor = redisAI.createTensorFromValues('INT64', [1, len(numbers)], *[numbers])
        _, article, _ = record['key'].split(':')
        redisAI.setTensorInKey('tokenized:%s:{%s}:%s' % (article, shard, n), tensor)
        execute('SADD', 'processed{%s}' % shard, record['key'])
"""

BATCH = (
    TOKENISER
    + """
gb = GB()
gb.foreach(parse_sentence)
gb.count()
gb.run('sentence:*', keyTypes=['hash'])
"""
)

ON_NEW_SENTENCES = (
    TOKENISER
    + """
def OnRegistered():
    global vocabulary
    vocabulary = load_vocabulary()
    execute('SET', 'ready{%s}' % hashtag(), 1)

gb = GB()
gb.foreach(parse_sentence)
gb.register('sentence:*', keyTypes=['hash'], mode='async_local', onRegistered=OnRegistered)
"""
)

HASH_TAGS = "GB('ShardsIDReader').map(lambda x: hashtag()).run()"

ANSWERS = """
tokenizer = None

def load_tokenizer():
    return str.split

async def qa(record):
    global tokenizer
    log('asked: ' + str(record['key']))
    if tokenizer is None:
        tokenizer = load_tokenizer()
    shard = hashtag()
    _, key, question = record['key'].split('_')
    tensor = execute('AI.TENSORGET', key, 'VALUES')
    words = execute('HGET', 'sentence:' + key.split(':', 1)[1].rsplit(':', 1)[0], key.rsplit(':', 1)[1])
    answer = tokenizer(words)[len(tokenizer(question)) - 1]
    execute('SET', '{%s}last' % shard, '%s %d' % (answer, len(tensor)))
    override_reply(answer)

gb = GB('KeysReader')
gb.map(qa)
gb.register(prefix='bertqa*', commands=['get'], eventTypes=['keymiss'], mode='async_local')
"""


def fill(client: redis.Redis) -> None:
    client.hset("sentence:one:{06S}", mapping={"0": "viruses infect cells", "1": "cells infect nobody"})
    client.hset("sentence:two:{06S}", mapping={"0": "masks help"})
    client.set("sentence:none", "not a hash")


def test_the_batch_function_tokenises_every_hash_once(client: redis.Redis) -> None:
    fill(client)
    assert client.execute_command("RG.PYEXECUTE", BATCH) == [[b"2"], []]
    assert client.smembers("processed{06S}") == {b"sentence:one:{06S}", b"sentence:two:{06S}"}
    first = client.execute_command("AI.TENSORGET", "tokenized:one:{06S}:0", "VALUES")
    second = client.execute_command("AI.TENSORGET", "tokenized:one:{06S}:1", "VALUES")
    assert len(first) == 3 and len(second) == 3
    assert (first[2], first[1]) == (second[0], second[1]), "`cells` and `infect` are the same tokens in both"


def test_registered_it_tokenises_new_hashes_as_they_arrive(client: redis.Redis) -> None:
    assert client.execute_command("RG.PYEXECUTE", ON_NEW_SENTENCES) == b"OK"
    wait_until(lambda: client.get("ready{06S}") == b"1", 10.0, "OnRegistered has run")
    client.set("sentence:none", "not a hash")
    fill(client)
    wait_until(lambda: client.scard("processed{06S}") == 2, 10.0, "both hashes are tokenised")
    assert client.exists("tokenized:one:{06S}:1") == 1


def test_every_shard_tells_its_hash_tag(client: redis.Redis) -> None:
    assert client.execute_command("RG.PYEXECUTE", HASH_TAGS) == [[b"06S"], []]


def test_a_get_that_misses_is_answered_by_the_coroutine(client: redis.Redis) -> None:
    fill(client)
    client.execute_command("RG.PYEXECUTE", BATCH)
    assert client.execute_command("RG.PYEXECUTE", ANSWERS) == b"OK"
    assert client.get("bertqa{06S}_tokenized:one:{06S}:0_who infects") == b"infect"
    assert client.get("{06S}last") == b"infect 3"
    assert client.get("bertqa{06S}_tokenized:two:{06S}:0_what") == b"masks"
    assert client.get("other") is None
