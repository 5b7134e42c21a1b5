"""What shards compare to end up with the same registrations."""

from __future__ import annotations

import itertools
import random

from keymiss.functions.ledger import MOST_GONE, Ledger, later


def exchange(one: Ledger, other: Ledger) -> None:
    """Each takes what the other has newer."""
    for source, target in ((one, other), (other, one)):
        changes = source.changes()
        for name in later(changes, target.changes()):
            target.note(name, changes[name], source.gone(name))


def test_shards_that_compare_in_any_order_come_to_the_same() -> None:
    dice = random.Random(4)
    nodes = {name: Ledger() for name in "abcde"}
    for _ in range(300):
        name = dice.choice("abcde")
        gone = b"gone" if dice.random() < 0.4 else None
        nodes[name].note(f"registration-{dice.randrange(20)}", nodes[name].next_change(name), gone)
        if dice.random() < 0.2:
            exchange(*dice.sample(list(nodes.values()), 2))
    pairs = list(itertools.combinations(nodes.values(), 2))
    for _ in range(len(nodes)):
        dice.shuffle(pairs)
        for one, other in pairs:
            exchange(one, other)
    digests = {ledger.digest() for ledger in nodes.values()}
    assert len(digests) == 1
    gone = {tuple(name for name in ledger.changes() if ledger.gone(name)) for ledger in nodes.values()}
    assert len({frozenset(names) for names in gone}) == 1


def test_a_change_is_later_than_all_that_its_shard_knows_though_its_clock_is_behind() -> None:
    ahead, behind = Ledger(lambda: 10_000), Ledger(lambda: 5_000)
    first = ahead.next_change("a")
    behind.note("r", first)
    second = behind.next_change("b")
    assert behind.next_change("b") > second > first


def test_of_what_is_gone_only_the_newest_are_remembered() -> None:
    ledger = Ledger()
    forgotten: list[str] = []
    for n in range(MOST_GONE + 5):
        forgotten += ledger.note(f"r{n}", ledger.next_change("a"), b"gone")
    assert forgotten == [f"r{n}" for n in range(5)]
    assert len(ledger.changes()) == MOST_GONE


def test_one_that_comes_back_is_not_gone_any_more() -> None:
    ledger = Ledger()
    ledger.note("r", ledger.next_change("a"), b"gone")
    ledger.note("r", ledger.next_change("a"))
    assert ledger.gone("r") is None
    assert "r" in ledger.changes()
