"""Records on their way between shards: all arrive, and only a few are under way at a time."""

from __future__ import annotations

import ast

from support.cluster import Cluster

UNDER_WAY = 8 * 500  # records of one leg that a shard may have sent, and nobody has read yet
TO_THE_WORKER = 5 * 500  # the same of a process that reads beside the worker
RECORDS = 20_000

# Each shard makes records for keys of its own, and notes how far what it made is ahead of what was read.
OWN_RECORDS = f"""
made = read = most = 0

def records():
    global made
    for n in range({RECORDS}):
        made += 1
        yield n

def note(record):
    global read, most
    read += 1
    most = max(most, made - read)

own = hashtag
GB('PythonReader').repartition(lambda n: '{{%s}}' % hashtag()).foreach(note)\\
    .accumulate(lambda held, n: 1 + (held or 0)).map(lambda n: (n, most)).run(records)
"""

# The first record that comes waits until no shard makes any more.
WAITING_READER = f"""
import asyncio
waited = False

def records():
    for n in range({RECORDS}):
        if n % 100 == 0:
            execute('SET', 'made{{%s}}' % hashtag(), n)
        yield n

async def made():
    results, errors = await GB('ShardsIDReader').map(lambda x: execute('GET', 'made{{%s}}' % hashtag())).run()
    return sorted(results)

async def wait():
    before = None
    while before != (now := await made()):
        before = now
        await asyncio.sleep(0.3)
    return max(map(int, now))

def first_waits(n):
    global waited
    if waited:
        return 0
    waited = True
    return wait()

GB('PythonReader').collect().map(first_waits).accumulate(lambda held, n: max(held or 0, n)).run(records)
"""


def run(cluster: Cluster, script: str) -> tuple[list[bytes], list[bytes]]:
    """The results and the errors of a script that one shard is given."""
    with cluster.masters[0].client() as client:
        results, errors = client.execute_command("RG.PYEXECUTE", script)
    return results, errors


def test_a_shard_makes_no_more_records_than_it_can_pass_on(cluster: Cluster) -> None:
    results, errors = run(cluster, OWN_RECORDS)
    assert errors == []
    for result in results:
        count, most = ast.literal_eval(result.decode())
        assert count == RECORDS
        assert most <= UNDER_WAY + 1000  # and those of the two chunks that are being made and read


def test_shards_wait_for_one_that_reads_slowly(cluster: Cluster) -> None:
    with cluster.masters[0].client() as client:
        (processes,) = client.config_get("keymiss.functions-processes").values()
    (most,), errors = run(cluster, WAITING_READER)
    assert errors == []
    assert 0 < int(most) <= UNDER_WAY + 1000 + (TO_THE_WORKER if int(processes) > 1 else 0)


def test_records_that_plain_pickle_cannot_say_arrive(cluster: Cluster) -> None:
    script = (
        "class Pair:\n    def __init__(self, a): self.a = a\n"
        "GB('ShardsIDReader').map(lambda x: (Pair(2), lambda n: n + 1)).collect()"
        ".map(lambda r: r[1](r[0].a)).run()"
    )
    assert run(cluster, script) == ([b"3", b"3", b"3"], [])


def test_one_record_that_cannot_be_sent_costs_only_itself(cluster: Cluster) -> None:
    script = (
        "import threading\n"
        "def records():\n    yield 1\n    yield threading.Lock()\n    yield 2\n"
        "GB('PythonReader').collect().run(records)"
    )
    results, errors = run(cluster, script)
    assert [results.count(text) for text in (b"1", b"2")] == [3, 3]
    assert len(errors) == 2 and all(b"pickle" in error for error in errors)


def test_a_limit_behind_a_shuffle_ends_well(cluster: Cluster) -> None:
    script = (
        "def records():\n    for n in range(30000): yield n\n"
        "GB('PythonReader').collect().limit(3).count().run(records)"
    )
    assert run(cluster, script) == ([b"3"], [])


def test_large_records_go_in_chunks_of_few(cluster: Cluster) -> None:
    script = (
        "def records():\n    for n in range(20): yield 'x' * 1000000\n"
        "GB('PythonReader').collect().map(lambda text: len(text)).count().run(records)"
    )
    assert run(cluster, script) == ([b"60"], [])
