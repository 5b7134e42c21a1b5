"""Every command answers what the original servers answered, case by case."""

from __future__ import annotations

import json

import pytest
from conformance.recordings import Case, cases, not_yet, replay
from support.server import Server

SHOWN_CHARS = 600

CASES = list(cases())

needs_recordings = pytest.mark.skipif(replay() is None, reason="no shared folder beside the repository")


@needs_recordings
@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for _, case in CASES])
def test_replies_are_those_recorded_on_the_original(server: Server, case: Case) -> None:
    """Strict both ways: a case listed in not_yet.txt that agrees fails too, so that the list only shrinks."""
    replayer = replay()
    assert replayer is not None
    difference = replayer.run_case(case, lambda: replayer.Server("127.0.0.1", server.port), record=False)
    known = not_yet().get(case["id"]) or not_yet().get(f"{case['id']}@{server.kind}")
    if difference is None:
        assert not known, f"it agrees now: take it out of not_yet.txt ({known})"
        return
    step, command, recorded, got = difference
    told = f"step {step}: {_short(command)}\n    recorded: {_short(recorded)}\n    got:      {_short(got)}"
    if "quirk" in case:
        pytest.xfail(f"a defect of the original ({case['quirk']}), answered otherwise; {told}")
    if known:
        pytest.xfail(f"{known}; {told}")
    raise AssertionError(told)


@needs_recordings
def test_every_case_listed_as_not_yet_is_recorded() -> None:
    listed = {case_id.partition("@")[0] for case_id in not_yet()}
    assert listed <= {case["id"] for _, case in CASES}


def _short(value: object) -> str:
    return json.dumps(value)[:SHOWN_CHARS]
