"""Which models go where they do not all fit, and which stay. Times are told: no test waits."""

from __future__ import annotations

import random

from keymiss.inference.residency import HALF_LIFE_S, STAYS, Residency


def _filled(*models: tuple[str, int, float]) -> Residency[str]:
    residency = Residency[str]()
    for key, size, cost_s in models:
        residency.use(key, now_s=0.0)
        residency.enter(key, size, cost_s, now_s=0.0)
    return residency


def test_of_models_that_cost_the_same_the_least_used_goes() -> None:
    residency = _filled(("a", 10, 1.0), ("b", 10, 1.0), ("c", 10, 1.0))
    residency.use("a", now_s=5.0)
    residency.use("c", now_s=10.0)
    assert residency.put_out(20, now_s=10.0) == ["b"]
    assert residency.put_out(10, now_s=10.0) == ["a"]
    assert "c" in residency and residency.bytes == 10


def test_what_comes_back_for_nothing_goes_before_what_has_to_be_loaded() -> None:
    residency = _filled(("loaded", 10, 1.0), ("mapped", 10, 0.001))
    residency.use("mapped", now_s=100.0)
    assert residency.put_out(10, now_s=100.0) == ["mapped"]


def test_of_models_that_are_used_alike_the_largest_for_its_cost_goes() -> None:
    residency = _filled(("small", 10, 1.0), ("large", 100, 1.0))
    assert residency.put_out(100, now_s=10.0) == ["large"]


def test_uses_are_forgotten() -> None:
    residency = _filled(("once wanted", 10, 1.0), ("wanted", 10, 1.0))
    for _ in range(100):
        residency.use("once wanted", now_s=0.0)
    for n in range(3):
        residency.use("wanted", now_s=10 * HALF_LIFE_S + n)
    assert residency.put_out(10, now_s=10 * HALF_LIFE_S + 3) == ["once wanted"]


def test_uses_of_a_model_that_is_out_count_when_it_is_back() -> None:
    residency = _filled(("a", 10, 1.0), ("b", 10, 1.0))
    residency.leave("a")
    residency.use("a", now_s=1.0)
    residency.enter("a", 10, 1.0, now_s=1.0)
    assert residency.put_out(10, now_s=10.0) == ["b"]
    residency.forget("a")
    residency.enter("a", 10, 1.0, now_s=20.0)
    residency.use("b", now_s=20.0)
    residency.enter("b", 10, 1.0, now_s=20.0)
    assert residency.put_out(10, now_s=30.0) == ["a"]


def test_a_model_that_grew_counts_as_it_is_and_stays_as_if_it_came_now() -> None:
    residency = _filled(("a", 10, 1.0), ("b", 10, 1.0))
    assert not residency.resize("a", 10, now_s=10.0)
    assert residency.resize("a", 20, now_s=10.0)
    assert residency.bytes == 30
    assert residency.put_out(0, now_s=10.0) == ["b"]
    assert residency.put_out(0, now_s=10.0 + STAYS) == ["a"]
    assert residency.bytes == 0


def test_a_model_stays_for_a_multiple_of_what_it_took_to_load() -> None:
    residency = _filled(("a", 10, 1.0), ("b", 10, 2.0))
    assert residency.put_out(0, now_s=STAYS - 0.5) == []
    assert residency.wait_s(now_s=STAYS - 0.5) == 0.5
    assert residency.put_out(0, now_s=STAYS) == ["a"]
    assert residency.wait_s(now_s=STAYS) == STAYS
    assert residency.put_out(0, now_s=2 * STAYS) == ["b"]
    assert residency.bytes == 0 and residency.wait_s(now_s=0.0) == 0.0


def test_a_model_that_enters_again_counts_once() -> None:
    residency = _filled(("a", 10, 1.0), ("a", 30, 1.0))
    assert residency.bytes == 30
    residency.leave("a")
    residency.leave("a")
    assert residency.bytes == 0


def test_of_a_heavy_tailed_load_most_runs_find_their_model() -> None:
    """Twelve models of one size, room for six, asked for as often as 1/n: nearly as good as if the six most
    wanted ones were always in memory."""
    chance = random.Random(7)
    weights = [1 / n for n in range(1, 13)]
    residency, hits, asked, now_s = Residency[int](), 0, 5_000, 0.0
    for key in chance.choices(range(12), weights, k=asked):
        now_s += 0.1
        residency.use(key, now_s)
        hits += key in residency
        if key not in residency:
            residency.put_out(50, now_s)
            residency.enter(key, 10, 0.01, now_s)
        assert residency.bytes <= 60
    best = sum(weights[:6]) / sum(weights)
    assert hits / asked > 0.93 * best
