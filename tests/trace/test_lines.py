"""Lines of workers: one line, of bounded length, and JSON that is JSON, whatever they hold."""

from __future__ import annotations

import json
import logging
import random
from typing import Any

import pytest

from keymiss.logs import LINE_BYTES, NOTICE, VERBOSE, Lines, Quota, about, level_name, level_number


def line(lines: Lines, message: str, extra: dict[str, Any] | None = None, level: int = NOTICE) -> str:
    record = logging.LogRecord("keymiss", level, __file__, 1, "%s", (message,), None)
    vars(record).update(extra or {})
    return lines.format(record)


def test_a_line_of_text_is_the_message_and_its_fields() -> None:
    extra = about("ran", {"pid": 5, "why": "two words", "none": ""}, request="s-1")
    assert line(Lines("functions"), "it ran", extra) == 'it ran request=s-1 pid=5 why="two words"'
    assert line(Lines("functions"), "", about("ran")) == "ran"
    assert line(Lines("functions"), "plain") == "plain"


def test_a_line_of_a_file_tells_time_and_level_and_whose_it_is() -> None:
    said = line(Lines("models", to_file=True), "it ran", about("ran", shard="one"), logging.ERROR)
    time, level, *words = said.split(" ")
    assert time.endswith("Z")
    assert (level, words) == ("warning", ["it", "ran", "shard=one"])


def test_json_holds_the_same_by_name() -> None:
    lines = Lines("models")
    lines.json, lines.shard = True, "one"
    told = json.loads(line(lines, "it ran", about("ran", {"pid": 5}, request="s-1"), VERBOSE))
    assert told.pop("time")
    assert told == {
        **{"level": "verbose", "shard": "one", "worker": "models", "event": "ran", "message": "it ran"},
        **{"request": "s-1", "pid": 5},
    }


@pytest.mark.parametrize("as_json", [False, True])
def test_whatever_they_hold_they_are_one_short_line(as_json: bool) -> None:
    rng = random.Random(7)
    lines = Lines("functions")
    lines.json = as_json
    letters = 'ab "\\=\n\r\t\x00\x1b\x7f\x85\u2028é漢😀\ud800'
    for size in (*range(40), 500, 2000, 20_000):
        text = "".join(rng.choice(letters) for _ in range(size))
        said = line(lines, text, about("it", {"text": text, "n": size}, request="r-1"))
        assert len(said.encode("utf-8", "replace")) <= LINE_BYTES
        assert len(said.splitlines()) == 1
        if as_json:
            assert json.loads(said)["n"] == size
        else:
            assert f"n={size}" in said


def test_levels_are_the_server_s() -> None:
    for name in ("debug", "verbose", "notice", "warning"):
        assert level_name(level_number(name)) == name
    assert level_name(logging.CRITICAL) == "warning"
    assert level_name(1) == "debug"


def test_a_quota_counts_what_it_leaves_out() -> None:
    quota = Quota(per_s=2)
    taken = [quota.take() for _ in range(5)]
    assert taken == [0, 0, None, None, None]
    quota._second_s -= 2.0  # as if that second were over
    assert quota.take() == 3
