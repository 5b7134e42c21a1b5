"""RG.* commands: their arguments in every order, repeated, missing or wrong."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError
from support.cluster import Cluster
from support.functions import register
from support.server import Server
from support.waiting import wait_until

TRIGGER = "GB('CommandReader').map(lambda x: ' '.join(x)).register(trigger='t')"
NO_PLAN = "execution plan does not exist"


def refused(client: redis.Redis, commands: dict[tuple[Any, ...], str]) -> None:
    """Each of these commands is answered by an error that has these words."""
    for command, words in commands.items():
        with pytest.raises(ResponseError) as error:
            client.execute_command(*command)
        assert words in str(error.value), command


def wrong_arity(command: str) -> str:
    return f"wrong number of arguments for '{command}' command"


def test_options_of_a_script_may_come_in_any_order_and_case(client: redis.Redis) -> None:
    options = (("ID", "s"), ("description", "my words"), ("Upgrade",), ("UNBLOCKING",))
    for order in permutations(options):
        words = [word for option in order for word in option]
        assert client.execute_command("RG.PYEXECUTE", TRIGGER, *words, "requirements", "redis") == b"OK"
        (shown,) = client.execute_command("RG.PYDUMPSESSIONS", "SESSIONS", "s")
        assert (shown[1], shown[3], shown[5], shown[13]) == (b"s", b"my words", 1, [b"redis"])


def test_a_byte_order_mark_is_no_part_of_a_script(client: redis.Redis) -> None:
    script = "GB('ShardsIDReader').map(lambda x: 'ran').run()".encode("utf-8-sig")
    assert client.execute_command("RG.PYEXECUTE", script) == [[b"ran"], []]


def test_of_an_option_that_is_repeated_the_last_one_counts(client: redis.Redis) -> None:
    twice = ("ID", "a", "ID", "b", "DESCRIPTION", "one", "DESCRIPTION", "two", "UPGRADE", "UPGRADE")
    client.execute_command("RG.PYEXECUTE", TRIGGER, *twice, "REQUIREMENTS", "redis", "pytest", "redis")
    ((_, name, _, description, *_, requirements, _, _),) = client.execute_command("RG.PYDUMPSESSIONS")
    assert (name, description, requirements) == (b"b", b"two", [b"redis", b"pytest", b"redis"])


def test_options_that_are_wrong_are_refused_and_nothing_runs(client: redis.Redis) -> None:
    script = "execute('SET', 'ran', 1)"
    characters = "must be compose of: ['A'-'Z' | 'a'-'z' | '0' - '9' | '-' | '_']"
    wrong = {
        ("NOSUCH",): "Unknown arguments were given: NOSUCH",
        ("UNBLOCKING", "x"): "Unknown arguments were given: x",
        ("ID",): "ID is missing",
        ("id",): "ID is missing",
        ("DESCRIPTION",): "DESCRIPTION is missing",
        ("REPLACE_WITH",): "REPLACE_WITH is missing",
        ("ID", "with space"): f"ID {characters}",
        ("ID", "é"): f"ID {characters}",
        ("REPLACE_WITH", "a.b"): f"REPLACE_WITH {characters}",
        ("ID", "x\n"): f"ID {characters}",
        ("ID", "s", "REPLACE_WITH", "nobody"): "Can not replace with nobody, session does not exists.",
        ("REQUIREMENTS", "a b"): "Invalid requirement 'a b'",
        ("REQUIREMENTS", "redis", "UNBLOCKING"): "UNBLOCKING must stand before REQUIREMENTS",
        ("REQUIREMENTS", "ID", "s"): "ID must stand before REQUIREMENTS",
        ("DESCRIPTION", b"\xff"): "must be UTF-8",
    }
    refused(client, {("RG.PYEXECUTE", script, *options): words for options, words in wrong.items()})
    assert client.get("ran") is None
    refused(client, {("RG.PYEXECUTE",): wrong_arity("rg.pyexecute")})


def _status(client: redis.Redis, execution: bytes) -> bytes | None:
    entries = client.execute_command("RG.DUMPEXECUTIONS", "ignored")
    return next((status for _, name, _, status, *_ in entries if name == execution), None)


def test_commands_on_executions_check_their_arguments(client: redis.Redis) -> None:
    script = (
        "import time\ndef wait(x):\n    execute('SET', 'runs', 1)\n"
        "    while not execute('GET', 'go'): time.sleep(0.01)\n    return x\n"
        "GB('PythonReader').map(wait).run(lambda: (n for n in [1]))"
    )
    started = client.execute_command("RG.PYEXECUTE", script, "UNBLOCKING")
    wait_until(lambda: client.get("runs"), 10.0, "it runs")
    refused(
        client,
        {
            ("RG.GETRESULTS", started): "execution is still running",
            ("RG.DROPEXECUTION", started): "still running",
            ("RG.GETEXECUTION", started, "CLUSTER"): "no cluster detected",
            ("RG.GETEXECUTION", started, ""): "unknown subcommand",
            ("RG.GETEXECUTION", started, "NODE"): "unknown subcommand",
            ("RG.GETEXECUTION", started, "SHARD", "SHARD"): wrong_arity("rg.getexecution"),
            ("RG.GETRESULTSBLOCKING", started, "x"): wrong_arity("rg.getresultsblocking"),
            ("RG.ABORTEXECUTION", started, "x"): wrong_arity("rg.abortexecution"),
            ("RG.DROPEXECUTION", started, "x"): wrong_arity("rg.dropexecution"),
        },
    )
    client.set("go", 1)
    assert client.execute_command("RG.GETRESULTSBLOCKING", started) == [[b"1"], []]
    assert client.execute_command("RG.GETRESULTS", started, "ignored") == [[b"1"], []]
    for word in ("shard", "SHARD", None):
        arguments = (started,) if word is None else (started, word)
        ((_, node, _, plan),) = client.execute_command("RG.GETEXECUTION", *arguments)
        told = dict(zip(plan[::2], plan[1::2], strict=True))
        assert (node, told[b"status"], told[b"results"]) == (b"0" * 40, b"done", 1)
    assert client.execute_command("RG.ABORTEXECUTION", started) == b"OK", "it has ended, and stays done"
    assert _status(client, started) == b"done"
    assert client.execute_command("RG.DROPEXECUTION", started) == b"OK"
    gone = {(f"RG.{name}", started): NO_PLAN for name in ("GETRESULTS", "GETEXECUTION", "DROPEXECUTION")}
    refused(client, {**gone, ("RG.ABORTEXECUTION", started): "execution does not exist"})
    assert _status(client, started) is None


def test_commands_on_registrations_check_their_arguments(client: redis.Redis) -> None:
    register(client, TRIGGER + "\nGB().register(prefix='none*')\nGB('StreamReader').register(prefix='none*')")
    trigger, keys, stream = (entry[1] for entry in client.execute_command("RG.DUMPREGISTRATIONS"))
    pauses: dict[tuple[Any, ...], str] = {}
    for name in ("PAUSEREGISTRATIONS", "UNPAUSEREGISTRATIONS"):
        arity = wrong_arity(f"rg.{name.lower()}")
        pauses |= {
            (f"RG.{name}",): arity,
            (f"RG.{name}", stream, stream): arity,
            (f"RG.{name}", "nosuch"): f"Execution nosuch does not exists on shard {'0' * 40}",
            (f"RG.{name}", trigger): "Reader CommandReader does not support pause",
            (f"RG.{name}", keys): "Reader KeysReader does not support pause",
        }
    refused(
        client,
        {
            **pauses,
            ("RG.UNREGISTER", "nosuch"): "execution is not registered",
            ("RG.UNREGISTER", trigger, "abort", "x"): wrong_arity("rg.unregister"),
            ("RG.TRIGGER", "nosuch"): "subcommand not found",
            ("RG.TRIGGER", "T"): "subcommand not found",
            ("RG.TRIGGERONKEY", "t"): wrong_arity("rg.triggeronkey"),
            ("RG.CLEARREGISTRATIONSSTATS", "x"): wrong_arity("rg.clearregistrationsstats"),
        },
    )
    assert client.execute_command("RG.TRIGGER", "t") == [b"t"]
    assert client.execute_command("RG.TRIGGERONKEY", "t", "key", "a", "a") == [b"t key a a"]
    assert client.execute_command("COMMAND GETKEYS", "RG.TRIGGERONKEY", "t", "key", "a") == ["key"]
    numbers = client.execute_command("RG.DUMPREGISTRATIONS")[0][7]
    assert numbers[numbers.index(b"numTriggered") + 1] == 2
    assert client.execute_command("RG.CLEARREGISTRATIONSSTATS") == b"OK"
    numbers = client.execute_command("RG.DUMPREGISTRATIONS")[0][7]
    assert [numbers[numbers.index(name) + 1] for name in (b"numTriggered", b"numSuccess")] == [0, 0]
    for word in ("PAUSEREGISTRATIONS", "PAUSEREGISTRATIONS", "UNPAUSEREGISTRATIONS"):
        assert client.execute_command(f"RG.{word}", stream) == b"OK"
    assert client.execute_command("RG.UNREGISTER", trigger, "ABORTpending") == b"OK"
    refused(client, {("RG.UNREGISTER", trigger): "execution is not registered"})


def test_configuration_is_read_and_set_name_by_name(client: redis.Redis) -> None:
    def config(word: str, *arguments: object) -> list[Any]:
        return list(client.execute_command(f"RG.CONFIG{word}", *arguments))

    assert config("SET", "MaxExecutions", 5, "zz_own", "text", "CreateVenv", 1, "odd")[:2] == [
        b"OK",
        b"OK - value was saved in extra config dictionary",
    ]
    *_, fixed, odd = config("SET", "MaxExecutions", 6, "MaxExecutions", 7, "CreateVenv", 1, "odd")
    assert "CreateVenv not modifiable" in str(fixed) and "Value was not given to odd" in str(odd)
    assert config("GET", "MaxExecutions", "zz_own", "MaxExecutions") == [7, b"text", 7]
    (unknown,) = config("GET", "maxexecutions")
    assert "Unsupported config parameter: maxexecutions" in str(unknown)
    (not_a_number,) = config("SET", "MaxExecutions", "many")
    assert "Failed parsing value" in str(not_a_number)
    for too_low in (0, -5):
        (refusal,) = config("SET", "ExecutionMaxIdleTime", too_low)
        assert "ExecutionMaxIdleTime must be greater than 0" in str(refusal)
    assert config("GET", "ExecutionMaxIdleTime") == [5000]
    assert config("SET", "MaxExecutions", 1000) == [b"OK"]
    assert config("SET", "PythonAttemptTraceback", 1) == [b"OK - value was saved in extra config dictionary"]
    told = "[configGet('PythonAttemptTraceback'), configGet('MaxExecutions')]"
    script = f"GB('ShardsIDReader').map(lambda x: {told}).run()"
    assert client.execute_command("RG.PYEXECUTE", script) == [[b"['1', None]"], []]
    assert config("GET", "PythonAttemptTraceback") == [1]
    refused(
        client,
        {("RG.CONFIGGET",): wrong_arity("rg.configget"), ("RG.CONFIGSET",): wrong_arity("rg.configset")},
    )


def test_a_profile_tells_where_a_sessions_time_went(client: redis.Redis) -> None:
    script = (
        "import time\ndef sleeps(x):\n    time.sleep(0.01)\n    return x\n"
        "GB('CommandReader').map(sleeps).register(trigger='%s', mode='%s')"
    )
    for mode in ("async", "sync"):
        client.execute_command("RG.PYEXECUTE", script % (mode, mode), "ID", mode)
        client.execute_command("RG.TRIGGER", mode)
    client.execute_command("RG.CONFIGSET", "ProfileExecutions", 1)
    try:
        for mode in ("async", "sync"):
            refused(client, {("RG.PYPROFILE", "STATS", mode): "nothing was profiled"})
            for _ in range(3):
                client.execute_command("RG.TRIGGER", mode)
            told = client.execute_command("RG.PYPROFILE", "stats", mode).decode()
            line = next(line for line in told.splitlines() if line.endswith("(sleeps)"))
            assert line.split()[0] == "3", "so often it was called"
            assert float(line.split()[3]) >= 0.03, "the cumulative time"
            assert "time.sleep" in told and "keymiss" not in told
            assert client.execute_command("RG.PYPROFILE", "STATS", mode, "cumtime")
    finally:
        client.execute_command("RG.CONFIGSET", "ProfileExecutions", 0)
    assert client.execute_command("RG.PYPROFILE", "RESET", "sync") == b"OK"
    refused(
        client,
        {
            ("RG.PYPROFILE",): wrong_arity("rg.pyprofile"),
            ("RG.PYPROFILE", "STATS"): wrong_arity("rg.pyprofile"),
            ("RG.PYPROFILE", "STATS", "sync"): "nothing was profiled",
            (
                "RG.PYPROFILE",
                "STATS",
                "async",
                "beauty",
            ): "cannot be ordered by beauty, but by: calls, cumulative",
            ("RG.PYPROFILE", "STATS", "nosuch"): "Session nosuch does not exists",
            ("RG.PYPROFILE", "SHOW", "sync"): "Wrong subcommand",
        },
    )


def test_statistics_are_those_of_the_process(client: redis.Redis, server: Server) -> None:
    told = client.execute_command("RG.PYSTATS")
    total, peak, now = told[1::2]
    assert told[::2] == [b"TotalAllocated", b"PeakAllocated", b"CurrAllocated"]
    assert total >= peak >= now > 1 << 20


def test_an_execution_is_shown_by_every_shard(cluster: Cluster) -> None:
    with cluster.masters[0].client() as client:
        started = client.execute_command("RG.PYEXECUTE", "GB('ShardsIDReader').run()", "UNBLOCKING")
        results, _ = client.execute_command("RG.GETRESULTSBLOCKING", started)
        for arguments in ((), ("CLUSTER",), ("cluster",)):
            shown = client.execute_command("RG.GETEXECUTION", started, *arguments)
            assert sorted(entry[1] for entry in shown) == sorted(results)
        ((_, node, _, _),) = client.execute_command("RG.GETEXECUTION", started, "SHARD")
        assert node == started.rpartition(b"-")[0]
        assert client.execute_command("RG.DROPEXECUTION", started) == b"OK"
