"""`keymiss trace`: a table for people, JSON for programs."""

from __future__ import annotations

import json

import pytest
import redis
from click.testing import CliRunner, Result
from support.functions import answering_misses, register
from support.server import Server

from keymiss.cli.trace import trace

KEY = "bertqa{06S}_a:{06S}:1_Why?"


@pytest.fixture(autouse=True)
def answering(client: redis.Redis) -> None:
    answer = "'-ERR none' if ':2_' in record['key'] else 'this'"
    body = f"    with stage('mine'):\n        pass\n    override_reply({answer})\n"
    register(client, answering_misses("bertqa", body))


def run(server: Server, *arguments: str) -> Result:
    return CliRunner().invoke(trace, [*arguments, "--port", str(server.port)])


def test_a_paragraph_and_a_question_are_traced(server: Server) -> None:
    result = run(server, "a:1", "Why?")
    assert result.exit_code == 0, result.output


def test_json_is_one_object_a_question(server: Server) -> None:
    result = run(server, "Why?", "--of", "a:1", "--of", "a:2", "--json")
    assert result.exit_code == 1, "one of them had no answer"
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["key"], first["answer"], first["error"]) == (KEY, "this", None)
    assert (second["answer"], second["error"]) == (None, "none")
    assert [one["stage"] for one in first["stages"]] == ["hook", "queue", "function", "mine", "reply"]
    assert first["client_us"] >= first["server_us"] > 0


@pytest.mark.parametrize("arguments", [("what?",), ("a", "Why?"), ("a:1", "Why?", "--of", "b:1")])
def test_what_is_no_question_is_told(server: Server, arguments: tuple[str, ...]) -> None:
    assert run(server, *arguments).exit_code in (1, 2)
