"""Registrations that come back: after a worker's death, a restart, on a replica that was promoted."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from support.functions import answering_misses, register
from support.server import Server, wait_for_replica
from support.waiting import wait_until

COUNTERS = """
n = 10
def add(x):
    global n
    n += 1
    return n
GB('CommandReader').map(add).register(trigger='add', mode='async_local')
GB('CommandReader').map(lambda x: n).register(trigger='told', mode='sync')
"""


def triggered(client: redis.Redis, name: str) -> list[bytes]:
    return client.execute_command("RG.TRIGGER", name)


def test_functions_of_a_session_share_their_globals_after_a_restart(fresh_server: Server) -> None:
    with fresh_server.client() as client:
        register(client, COUNTERS)
        assert triggered(client, "add") == [b"11"]
        client.save()
    fresh_server.restart()
    with fresh_server.client() as client:
        assert triggered(client, "add") == [b"11"]
        assert triggered(client, "told") == [b"11"]
        (one, two) = client.execute_command("RG.DUMPREGISTRATIONS")
        assert one[9] == two[9] and b"'refCount': 2" in one[9], "they are one session again"


def test_on_registered_runs_again_in_the_next_worker(fresh_server: Server) -> None:
    script = "GB('CommandReader').register(trigger='t', onRegistered=lambda: execute('INCR', 'registered'))"
    with fresh_server.client() as client:
        register(client, script)
        wait_until(lambda: client.get("registered") == b"1", 10.0, "it has run once")
        os.kill(fresh_server.worker_pid("functions"), signal.SIGKILL)
        wait_until(lambda: triggered(client, "t") == [b"['t']"], 20.0, "the next worker answers")
        wait_until(lambda: client.get("registered") == b"2", 10.0, "it has run again")


def test_what_was_configured_is_so_in_the_next_worker(client: redis.Redis, server: Server) -> None:
    """Before anything runs there."""
    before = client.execute_command("RG.CONFIGGET", "MaxExecutions")
    client.execute_command("RG.CONFIGSET", "MaxExecutions", 7, "zz_own", "gr\u00fcn", "zz_other", "text")
    (refusal,) = client.execute_command("RG.CONFIGSET", "zz_other", "x" * (1 << 20))
    assert "zz_other was not set" in str(refusal)
    register(
        client,
        "def note(): execute('SET', 'at', configGet('zz_own'))\n"
        "GB('CommandReader').register(trigger='t', onRegistered=note)",
    )
    client.delete("at")
    for _ in range(2):  # what came back is kept for the one after, too
        worker = server.wait_for_worker("functions")
        os.kill(worker, signal.SIGKILL)
        server.wait_for_worker("functions", other_than=worker)
        told = client.execute_command("RG.CONFIGGET", "MaxExecutions", "zz_own", "zz_other")
        assert told == [7, "gr\u00fcn".encode(), b"text"]
    wait_until(
        lambda: client.get("at") == "gr\u00fcn".encode(), 10.0, "a function that was restored has seen it"
    )
    client.execute_command("RG.CONFIGSET", "MaxExecutions", *before)


def test_an_id_is_not_given_twice_after_a_restart(fresh_server: Server) -> None:
    with fresh_server.client() as client:
        register(client, answering_misses("a"))
        client.save()
    fresh_server.restart()
    with fresh_server.client() as client:
        register(client, answering_misses("b"))
        ids = [entry[1] for entry in client.execute_command("RG.DUMPREGISTRATIONS")]
        assert len(set(ids)) == 2
        assert (client.get("a1"), client.get("b1")) == (b"answer for a1", b"answer for b1")


def test_what_no_frame_may_hold_any_more_is_left_out(fresh_server: Server) -> None:
    """What was registered, or set, when larger frames were allowed."""
    noise = random.Random(0).randbytes(1_000_000).hex()
    with fresh_server.client() as client:
        register(client, answering_misses("a"))
        register(
            client, f"data = '{noise}'\nGB('CommandReader').map(lambda x: len(data)).register(trigger='t')"
        )
        client.execute_command("RG.CONFIGSET", "zz_own", noise[: 1 << 18])
        (large,) = (e[1] for e in client.execute_command("RG.DUMPREGISTRATIONS") if e[3] == b"CommandReader")
        client.config_set("keymiss.max-frame-bytes", 1 << 16)
        os.kill(fresh_server.worker_pid("functions"), signal.SIGKILL)
        wait_until(lambda: client.get("a1") == b"answer for a1", 20.0, "the other one serves")
        assert f"registration {large.decode()} is longer than keymiss.max-frame-bytes" in fresh_server.log
        assert "RG.CONFIGSET set is longer than keymiss.max-frame-bytes" in fresh_server.log


def test_an_execution_of_a_worker_that_died_is_not_taken_for_a_later_one(fresh_server: Server) -> None:
    run = ("RG.PYEXECUTE", "GB('ShardsIDReader').run()", "UNBLOCKING")
    with fresh_server.client() as client:
        earlier = client.execute_command(*run)
        died = fresh_server.worker_pid("functions")
        os.kill(died, signal.SIGKILL)
        wait_until(
            lambda: client.info("keymiss")["keymiss_functions_worker"]["pid"] != died,
            10.0,
            "its end is known",
        )
        assert client.execute_command(*run) != earlier
        with pytest.raises(redis.ResponseError, match="does not exist"):
            client.execute_command("RG.GETRESULTSBLOCKING", earlier)


def test_a_session_that_came_back_is_upgraded_by_its_name(fresh_server: Server) -> None:
    with fresh_server.client() as client:
        client.execute_command("RG.PYEXECUTE", answering_misses("a"), "ID", "s", "DESCRIPTION", "mine")
        client.save()
    fresh_server.restart()
    with fresh_server.client() as client:
        assert client.execute_command("RG.PYDUMPSESSIONS", "SESSIONS", "s")[0][3] == b"mine"
        script = answering_misses("a", "    override_reply('newer')\n")
        client.execute_command("RG.PYEXECUTE", script, "ID", "s", "UPGRADE")
        assert client.get("a1") == b"newer"
        assert len(client.execute_command("RG.DUMPREGISTRATIONS")) == 1


def test_a_promoted_replica_has_the_functions(replicated: tuple[Server, Server]) -> None:
    primary, replica = replicated
    with primary.client() as client, replica.client() as other:
        register(client, answering_misses("q"))
        client.wait(1, 5000)
        primary.kill()
        other.replicaof("NO", "ONE")
        wait_until(lambda: other.get("q1") == b"answer for q1", 20.0, "the new primary answers")


def test_a_replica_that_is_promoted_after_an_upgrade_has_the_new_functions(
    replicated: tuple[Server, Server],
) -> None:
    primary, replica = replicated
    with primary.client() as client, replica.client() as other:
        client.execute_command("RG.PYEXECUTE", COUNTERS, "ID", "s")
        client.wait(1, 5000)
        wait_until(
            lambda: len(other.execute_command("RG.DUMPREGISTRATIONS")) == 2, 10.0, "the replica has both"
        )
        newer = COUNTERS.replace("n = 10", "n = 20")
        client.execute_command("RG.PYEXECUTE", newer, "ID", "s", "UPGRADE")
        client.wait(1, 5000)
        primary.kill()
        other.replicaof("NO", "ONE")
        wait_until(lambda: triggered(other, "told") == [b"20"], 20.0, "the new function answers")
        assert (triggered(other, "add"), triggered(other, "told")) == ([b"21"], [b"21"])
        assert len(other.execute_command("RG.DUMPREGISTRATIONS")) == 2


def test_one_that_was_removed_comes_back_with_the_data_of_before(fresh_server: Server) -> None:
    with fresh_server.client() as client:
        register(client, "GB('CommandReader').register(trigger='t')")
        (registration,) = client.execute_command("RG.DUMPREGISTRATIONS")
        client.save()
        client.execute_command("RG.UNREGISTER", registration[1])
        client.execute_command("DEBUG", "RELOAD", "NOSAVE")
        assert triggered(client, "t") == [b"['t']"]
        assert [one[1] for one in client.execute_command("RG.DUMPREGISTRATIONS")] == [registration[1]]


def test_misses_that_come_while_functions_are_restored_are_answered(fresh_server: Server) -> None:
    slow_to_import = (
        "import time\n"
        "class Slow:\n"
        "    def __init__(self): self.ready = 'ready'\n"
        "    def __setstate__(self, state):\n"
        "        import time\n"
        "        time.sleep(1)\n"
        "        self.ready = state['ready']\n"
        "    def __getstate__(self): return {'ready': self.ready}\n"
        "slow = Slow()\n"
    )
    with fresh_server.client() as client:
        register(client, slow_to_import + answering_misses("q", "    override_reply(slow.ready)\n"))
        assert client.get("q1") == b"ready"
        os.kill(fresh_server.worker_pid("functions"), signal.SIGKILL)
        wait_until(lambda: client.get("q1") is not None, 20.0, "the miss is answered")
        assert client.get("q1") == b"ready"


@pytest.mark.parametrize("raised", ["SystemExit", "KeyboardInterrupt", "ImportError"])
def test_one_that_cannot_be_restored_holds_up_no_other(fresh_server: Server, raised: str) -> None:
    cannot_be_loaded = (
        "class Gone:\n"
        "    def __getstate__(self): return {'n': 1}\n"
        f"    def __setstate__(self, state): raise {raised}('not here')\n"
        "gone = Gone()\n"
        "GB('CommandReader').map(lambda x: gone and 'first').register(trigger='first')\n"
    )
    with fresh_server.client() as client:
        register(client, cannot_be_loaded)
        register(client, "GB('CommandReader').map(lambda x: 'second').register(trigger='second')")
        old = fresh_server.worker_pid("functions")
        os.kill(old, signal.SIGKILL)
        fresh_server.wait_for_worker("functions", other_than=old)
        assert triggered(client, "second") == [b"second"]
        assert len(client.execute_command("RG.DUMPREGISTRATIONS")) == 1
        assert client.execute_command("RG.PYEXECUTE", "1") == b"OK"
    assert "cannot be restored" in fresh_server.log and raised in fresh_server.log


@dataclass
class Slow:
    """A registration that, to be loaded, waits for the file `go`; there is a file `loading` then."""

    loading: Path
    go: Path

    def script(self, trigger: str) -> str:
        return (
            "import pathlib, time\n"
            "class Slow:\n"
            "    def __getstate__(self): return {'n': 1}\n"
            "    def __setstate__(self, state):\n"
            f"        pathlib.Path('{self.loading}').touch()\n"
            f"        while not pathlib.Path('{self.go}').exists(): time.sleep(0.01)\n"
            "slow = Slow()\n"
            f"GB('CommandReader').map(lambda x: slow and '{trigger}').register(trigger='{trigger}')"
        )


@pytest.fixture
def slow(tmp_path: Path) -> Slow:
    return Slow(tmp_path / "loading", tmp_path / "go")


def test_one_that_is_removed_while_a_replica_loads_it_is_gone_there(
    replicated: tuple[Server, Server], slow: Slow
) -> None:
    primary, replica = replicated
    with primary.client() as client, replica.client() as other:
        other.execute_command("RG.PYSTATS")
        register(client, slow.script("removed"))
        wait_until(slow.loading.exists, 20.0, "the replica loads it")
        ((_, removed, *_),) = client.execute_command("RG.DUMPREGISTRATIONS")
        assert client.execute_command("RG.UNREGISTER", removed) == b"OK"
        register(client, "GB('CommandReader').map(lambda x: 'kept').register(trigger='kept')")
        wait_for_replica(primary, replica)
        slow.go.touch()
        wait_until(
            lambda: other.execute_command("RG.DUMPREGISTRATIONS"), 20.0, "the replica has what came later"
        )
        assert [entry[1] for entry in other.execute_command("RG.DUMPREGISTRATIONS")] == [
            entry[1] for entry in client.execute_command("RG.DUMPREGISTRATIONS")
        ]


def test_a_command_whose_client_gave_up_while_functions_were_restored_is_not_run(
    fresh_server: Server, slow: Slow
) -> None:
    with fresh_server.client() as client:
        register(client, slow.script("t"))
        client.execute_command("RG.CONFIGSET", "zz_own", "before")
        os.kill(fresh_server.worker_pid("functions"), signal.SIGKILL)
        wait_until(slow.loading.exists, 20.0, "the next worker loads it")
        client.config_set("keymiss.job-timeout-ms", 300)
        for too_late in (("RG.CONFIGSET", "zz_own", "late"), ("RG.CONFIGGET", "zz_own")):
            with pytest.raises(redis.ResponseError, match="within 300 ms"):
                client.execute_command(*too_late)
        client.config_set("keymiss.job-timeout-ms", 30_000)
        slow.go.touch()
        assert triggered(client, "t") == [b"t"]
        assert client.execute_command("RG.CONFIGGET", "zz_own") == [b"before"]


def test_one_that_takes_too_long_to_load_holds_up_no_other(
    replicated: tuple[Server, Server], slow: Slow
) -> None:
    primary, replica = replicated
    with primary.client() as client, replica.client() as other:
        register(other, "from keymiss.functions import deploy\ndeploy.RESTORE_S = 0.1")
        register(client, slow.script("first"))
        register(client, "GB('CommandReader').map(lambda x: 'second').register(trigger='second')")
        wait_for_replica(primary, replica)
        wait_until(slow.loading.exists, 20.0, "the replica loads the first")
        assert triggered(other, "second") == [b"second"]
        slow.go.touch()
        wait_until(
            lambda: len(other.execute_command("RG.DUMPREGISTRATIONS")) == 2, 20.0, "the first came late"
        )
        assert triggered(other, "first") == [b"first"]
        assert "is not restored after 0.1 s" in replica.log
