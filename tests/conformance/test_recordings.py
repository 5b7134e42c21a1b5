"""Every command answers what the original servers answered, case by case."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from conformance.recordings import CLUSTER, ONE_SERVER, Case, cases, not_yet, replay
from support.cluster import Cluster
from support.server import Server

SHOWN_CHARS = 600
REPLY_DEADLINE_S = 60.0  # the first model of a machine at work takes longer than the program's own patience

CASES = cases(ONE_SERVER)
CLUSTER_CASES = cases(CLUSTER)
# Those that move records most, and only some of them: it is the same code that answers the others.
CASES_BESIDE = cases(["rg_operations"])[::3]

needs_recordings = pytest.mark.skipif(replay() is None, reason="no shared folder beside the repository")


@needs_recordings
@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
def test_replies_are_those_recorded_on_the_original(server: Server, case: Case) -> None:
    _replay(case, server)


@pytest.fixture(scope="module")
def beside(make_shared_server: Callable[..., Server]) -> Server:
    """A server whose executions run in processes beside its worker."""
    return make_shared_server(settings={"keymiss.functions-processes": 2})


@needs_recordings
@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES_BESIDE])
def test_replies_from_processes_beside_the_worker_are_those_recorded(beside: Server, case: Case) -> None:
    _replay(case, beside)


@needs_recordings
@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CLUSTER_CASES])
def test_replies_in_a_cluster_are_those_recorded(cluster: Cluster, case: Case) -> None:
    _replay(case, cluster.masters[0], cluster=True)


def _replay(case: Case, server: Server, cluster: bool = False) -> None:
    """Strict both ways: a case listed in not_yet.txt that agrees fails too, so that the list only shrinks."""
    replayer = replay()
    assert replayer is not None

    def connect(host: str = "127.0.0.1", port: int = server.port) -> Any:
        return replayer.Server(host, port, REPLY_DEADLINE_S)

    difference = replayer.run_case(case, connect, record=False, cluster=cluster)
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
    assert listed <= {case["id"] for case in CASES + CLUSTER_CASES}


def _short(value: object) -> str:
    return json.dumps(value)[:SHOWN_CHARS]
