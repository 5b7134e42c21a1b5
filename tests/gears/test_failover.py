"""A replica that becomes a master goes on with what its master did."""

from __future__ import annotations

import contextlib

from support.functions import answering_misses, register
from support.server import Server, wait_for_replica
from support.waiting import wait_until

PROMOTED_S = 30.0

# On the first master the function never comes to its end.
COPYING = """
import time
def copy(record):
    while execute('CONFIG', 'GET', 'port')[1] == '{port}':
        time.sleep(0.01)
    execute('RPUSH', 'done', record['value']['n'])
GB('StreamReader').foreach(copy).register(prefix='stream')
"""


def test_it_reads_what_its_master_had_begun_and_what_waited_in_the_stream(
    replicated: tuple[Server, Server],
) -> None:
    first, second = replicated
    with contextlib.closing(first.client()) as master, contextlib.closing(second.client()) as replica:
        register(master, COPYING.format(port=first.port))
        register(master, answering_misses("q"))
        wait_for_replica(first, second)
        assert replica.get("q1") == b"answer for q1", "its worker runs, and knows that it is a replica"
        for n in range(3):
            master.xadd("stream", {"n": n})
        wait_until(
            lambda: any(group["pending"] for group in master.xinfo_groups("stream")), PROMOTED_S, "one read"
        )
        wait_for_replica(first, second)
        assert replica.xlen("stream") == 3
        first.kill()
        replica.replicaof("NO", "ONE")
        wait_until(lambda: replica.llen("done") == 3, PROMOTED_S, "all have been worked on")
        assert replica.lrange("done", 0, -1) == [b"0", b"1", b"2"]
        assert len(replica.execute_command("RG.DUMPREGISTRATIONS")) == 2
