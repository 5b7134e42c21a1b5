"""What CLUSTER NODES tells of the shard that asks."""

from __future__ import annotations

import pytest

from keymiss.functions.nodes import first_slot, parse_nodes

MASTER = "a" * 40 + " 127.0.0.1:7000@17000,{} {}master - 0 1 1 connected {}"
REPLICA = "b" * 40 + " 127.0.0.1:7001@17001 {}slave " + "a" * 40 + " 0 1 1 connected"


@pytest.mark.parametrize(
    ("lines", "slot"),
    [
        ((MASTER.format("", "myself,", "8000-9000 12 [12->-bbbb]"), REPLICA.format("")), 12),
        ((MASTER.format("host", "", "100 7-9"), REPLICA.format("myself,")), 7),
        ((MASTER.format("", "myself,", ""),), 0),
        ((REPLICA.format("myself,"),), 0),
    ],
    ids=["a master", "a replica: its master's", "a master without slots", "a replica whose master is gone"],
)
def test_the_first_slot_is_that_of_the_shard(lines: tuple[str, ...], slot: int) -> None:
    assert first_slot(parse_nodes("\n".join(lines))) == slot
