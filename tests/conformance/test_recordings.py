"""Every command answers what the original servers answered, case by case."""

from __future__ import annotations

import json

import pytest
from conformance.recordings import Case, cases, not_yet, replay
from support.server import Server

SHOWN_CHARS = 600

CASES = list(cases())

needs_recordings = pytest.mark.skipif(replay() is None, reason="no shared folder beside the repository")


def _marked(case: Case) -> list[pytest.MarkDecorator]:
    reason = not_yet().get(case["id"])
    return [pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError)] if reason else []


@needs_recordings
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case["id"], marks=_marked(case)) for _, case in CASES]
)
def test_replies_are_those_recorded_on_the_original(server: Server, case: Case) -> None:
    """Strict both ways: a case listed in not_yet.txt that agrees fails too, so that the list only shrinks."""
    replayer = replay()
    assert replayer is not None
    difference = replayer.run_case(case, lambda: replayer.Server("127.0.0.1", server.port), record=False)
    if difference is None:
        return
    step, command, recorded, got = difference
    told = f"step {step}: {_short(command)}\n    recorded: {_short(recorded)}\n    got:      {_short(got)}"
    if "quirk" in case:
        pytest.xfail(f"a defect of the original ({case['quirk']}), answered otherwise; {told}")
    raise AssertionError(told)


@needs_recordings
def test_every_case_listed_as_not_yet_is_recorded() -> None:
    assert set(not_yet()) <= {case["id"] for _, case in CASES}


def _short(value: object) -> str:
    return json.dumps(value)[:SHOWN_CHARS]
