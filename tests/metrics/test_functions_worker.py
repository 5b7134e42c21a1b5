"""What the functions worker of a real shard serves: it agrees with what was done."""

from __future__ import annotations

import os
import signal

import pytest
import redis
from redis.exceptions import ResponseError
from support.functions import answering_misses, register
from support.ports import ports
from support.processes import stopped
from support.scraping import Scrape, scrape
from support.server import Server
from support.waiting import wait_until

from keymiss.metrics.info import fields_of

DEADLINE_S = 20.0
DESCRIBED = "GB('CommandReader', desc={name!r}).map(lambda argv: 1 / int(argv[1])).register(trigger='divide')"

# Runs of `held` wait until `release` is triggered.
HELD = """
import asyncio
free = asyncio.Event()
async def wait(record):
    await free.wait()
GB('KeysReader', desc='held').foreach(wait).register('held:*', eventTypes=['set'], mode='async_local')
async def release(argv):
    free.set()
GB('CommandReader').map(release).register(trigger='release', mode='async_local')
"""


class Growth:
    """How counters have grown since this was made."""

    def __init__(self, client: redis.Redis, port: int) -> None:
        """What is served of the shard may be a second old: of what was before the last RG command it tells
        when it tells of that."""
        asked = client.execute_command("RG.CONFIGGET", "MaxExecutions") and commands_of(client)
        self._port = port
        self._before = wait_until(lambda: told_of(port, asked), DEADLINE_S, "the past is told")

    def _by(self, now: Scrape, series: str, labels: dict[str, str]) -> float:
        before = list(self._before.samples(series))
        had = sum(one.value for one in before if labels.items() <= one.labels.items())
        return now.value(series, **labels) - had

    def wait_for(self, wanted: float, series: str, **labels: str) -> None:
        def has_grown() -> bool:
            return self._by(scrape(self._port), series, labels) == wanted

        wait_until(has_grown, DEADLINE_S, f"{series} {labels} grows by {wanted}")


def commands_of(client: redis.Redis) -> float:
    return float(fields_of(client.execute_command("INFO keymiss").decode())["rg_commands"])


def told_of(port: int, commands: float) -> Scrape | None:
    now = scrape(port)
    return now if now.value("keymiss_rg_commands_total") == commands else None


def value_of(port: int, series: str, **labels: str) -> float:
    return scrape(port).value(series, **labels)


def test_hits_misses_and_answers_are_those_of_the_clients(client: redis.Redis, functions_port: int) -> None:
    register(client, answering_misses("miss:"))
    client.mset({"miss:1": "there", "miss:2": "there"})
    growth = Growth(client, functions_port)
    for n in range(1, 6):
        client.get(f"miss:{n}")
    client.get("not hooked")
    growth.wait_for(3, "keymiss_misses_total")
    growth.wait_for(3, "keymiss_answers_total")
    growth.wait_for(2, "keymiss_hits_total")
    growth.wait_for(3, "keymiss_jobs_total", kind="miss", outcome="done")
    growth.wait_for(3, "keymiss_job_duration_seconds_count", kind="miss")
    growth.wait_for(3, "keymiss_stage_duration_seconds_count", stage="reply")
    growth.wait_for(3, "keymiss_executions_total", outcome="done")


def test_runs_are_counted_by_function_and_outcome(client: redis.Redis, functions_port: int) -> None:
    register(client, DESCRIBED.format(name="division"))
    growth = Growth(client, functions_port)
    for argument in ("1", "2"):
        client.execute_command("RG.TRIGGER", "divide", argument)
    with pytest.raises(ResponseError, match="ZeroDivisionError"):
        client.execute_command("RG.TRIGGER", "divide", "0")
    growth.wait_for(2, "keymiss_function_runs_total", function="division", outcome="success")
    growth.wait_for(1, "keymiss_function_runs_total", function="division", outcome="failure")
    growth.wait_for(2, "keymiss_executions_total", outcome="done")
    growth.wait_for(1, "keymiss_executions_total", outcome="failed")
    assert value_of(functions_port, "keymiss_function_run_seconds_total", function="division") > 0
    client.execute_command("RG.PYEXECUTE", "GB('ShardsIDReader').map(lambda x: 1 / 0).run()")
    growth.wait_for(2, "keymiss_executions_total", outcome="failed")


def test_a_function_without_a_description_is_known_by_its_id(
    client: redis.Redis, functions_port: int
) -> None:
    register(client, "GB('CommandReader').map(lambda argv: argv).register(trigger='nameless')")
    name = client.execute_command("RG.DUMPREGISTRATIONS")[0][1].decode()
    assert value_of(functions_port, "keymiss_function_runs_total", function=name, outcome="success") == 0


def test_the_lag_of_a_registration_is_how_long_its_oldest_event_waits(
    client: redis.Redis, functions_port: int
) -> None:
    register(client, HELD)
    for n in range(3):
        client.set(f"held:{n}", n)

    def waiting() -> bool:
        return value_of(functions_port, "keymiss_registration_waiting", function="held") == 3

    wait_until(waiting, DEADLINE_S, "three events wait")
    first = value_of(functions_port, "keymiss_registration_lag_seconds", function="held")
    assert first > 0
    assert value_of(functions_port, "keymiss_registration_lag_seconds", function="held") > first
    assert value_of(functions_port, "keymiss_executions_running") == 3
    client.execute_command("RG.TRIGGER", "release")

    def done() -> bool:
        return value_of(functions_port, "keymiss_registration_lag_seconds", function="held") == 0

    wait_until(done, DEADLINE_S, "nothing waits any more")
    assert value_of(functions_port, "keymiss_registration_waiting", function="held") == 0


def test_entries_that_wait_for_their_batch_are_not_late_but_those_that_failed_are(
    client: redis.Redis, functions_port: int
) -> None:
    for n in range(3):
        client.xadd("whole", {"n": n})
        client.xadd("failing", {"n": n})
    register(
        client,
        "GB('StreamReader', desc='whole').foreach(lambda r: r).register('whole', batch=10)\n"
        "GB('StreamReader', desc='failing').foreach(lambda r: 1 / 0)"
        ".register('failing', batch=2, onFailedPolicy='retry', onFailedRetryInterval=60)",
    )

    def failed() -> bool:
        return (
            value_of(functions_port, "keymiss_function_runs_total", function="failing", outcome="failure") > 0
        )

    wait_until(failed, DEADLINE_S, "the batch has failed")
    for function in ("failing", "whole"):

        def waiting(function: str = function) -> bool:
            return value_of(functions_port, "keymiss_registration_waiting", function=function) == 3

        wait_until(waiting, DEADLINE_S, "all three wait")
    assert value_of(functions_port, "keymiss_registration_lag_seconds", function="failing") > 0
    assert value_of(functions_port, "keymiss_registration_lag_seconds", function="whole") == 0


def test_processes_beside_the_worker_count(client: redis.Redis, functions_port: int) -> None:
    alone = value_of(functions_port, "keymiss_functions_memory_bytes")
    client.config_set("keymiss.functions-processes", 2)
    client.execute_command("RG.PYEXECUTE", "GB('ShardsIDReader').map(lambda x: x).run()")

    def there() -> bool:
        return value_of(functions_port, "keymiss_functions_processes") == 2

    wait_until(there, DEADLINE_S, "a process has been started")
    assert value_of(functions_port, "keymiss_functions_memory_bytes") > alone


def test_the_port_may_change_while_the_worker_runs(
    server: Server, client: redis.Redis, functions_port: int
) -> None:
    pid = server.worker_pid("functions")
    other = ports.take()
    try:
        client.config_set("keymiss.metrics-port", other)
        wait_until(lambda: scrape(other), DEADLINE_S, "it is served on the other port")
        client.config_set("keymiss.metrics-port", functions_port)
        wait_until(lambda: scrape(functions_port), DEADLINE_S, "it is served on the first again")
    finally:
        ports.release(other)
    assert server.worker_pid("functions") == pid


def test_a_name_that_is_set_is_the_label_of_all(client: redis.Redis, functions_port: int) -> None:
    client.config_set("keymiss.shard-name", "north-1")

    def is_named() -> bool:
        return {one.labels.get("shard") for one in all_samples(scrape(functions_port))} == {"north-1"}

    wait_until(is_named, DEADLINE_S, "all have the label")


def all_samples(told: Scrape) -> list[object]:
    return [one for family in told.families.values() for one in family.samples]


def test_a_worker_that_was_killed_is_scraped_again(
    server: Server, client: redis.Redis, functions_port: int
) -> None:
    restarts = value_of(functions_port, "keymiss_worker_restarts_total", worker="functions")
    os.kill(server.worker_pid("functions"), signal.SIGKILL)

    def restarted() -> bool:
        told = value_of(functions_port, "keymiss_worker_restarts_total", worker="functions")
        return told == restarts + 1

    wait_until(restarted, DEADLINE_S, "the next worker serves")
    assert value_of(functions_port, "keymiss_worker_up", worker="functions") == 1


def test_a_shard_that_does_not_answer_leaves_out_only_its_own(
    client: redis.Redis, functions_port: int
) -> None:
    """It is stopped until a scrape has waited for it in vain. What it told a moment before still serves."""
    pid = client.info("server")["process_id"]

    def silent() -> Scrape | None:
        told = scrape(functions_port)
        return told if told.value("keymiss_shard_scraped") == 0 else None

    with stopped(pid):
        told = wait_until(silent, DEADLINE_S, "the shard is silent")
    assert "keymiss_misses_total" not in told.families
    assert told.value("keymiss_functions_processes") >= 1

    def answers() -> bool:
        return value_of(functions_port, "keymiss_shard_scraped") == 1

    wait_until(answers, DEADLINE_S, "the shard answers again")


def test_errors_are_counted_by_kind(client: redis.Redis, functions_port: int) -> None:
    growth = Growth(client, functions_port)
    with pytest.raises(ResponseError):
        client.execute_command("RG.TRIGGER", "nobody knows this")
    growth.wait_for(1, "keymiss_errors_total", kind="function")
