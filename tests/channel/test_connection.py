"""A channel between two ends of a socketpair: greeting, batches, nesting, threads, bounds, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import select
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from keymiss.channel import (
    Channel,
    Frame,
    FrameReader,
    Hello,
    Job,
    JobTable,
    connection,
    encode,
    flush_gathered,
    gather,
    watch_pid,
)
from keymiss.errors import ChannelError, DeadlineError

DEADLINE_S = 10.0


class Ends:
    """A worker's channel on a loop in this thread, and the other end as a blocking socket."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        mine, self.other = socket.socketpair()
        self.other.settimeout(DEADLINE_S)
        self.seen: list[Frame] = []
        self.hello: Hello | None = None
        self.ended: asyncio.Future[Exception | None] = self.loop.create_future()
        handlers: dict[bytes, Callable[[Frame], None]] = {
            b"SAY": self.seen.append,
            b"EXIT": lambda frame: sys.exit(),
            b"ASK": lambda frame: self.channel.send("ANSWER", frame[1]),
        }
        self.channel = Channel(mine, self.loop, handlers, self.greet, self.ended.set_result)
        self._reader = FrameReader()
        self._received: list[Frame] = []

    def greet(self, hello: Hello) -> None:
        self.hello = hello

    def tell(self, *parts: Any) -> None:
        self.other.sendall(encode(*parts))

    def until(self, condition: Callable[[], bool]) -> None:
        """Turn the loop until the condition holds."""

        async def turn() -> None:
            while not condition():
                await asyncio.sleep(0)

        self.loop.run_until_complete(asyncio.wait_for(turn(), DEADLINE_S))

    def take(self, count: int = 1) -> list[Frame]:
        """The next frames that the worker wrote; the loop is turned until they are there."""
        self.other.setblocking(False)

        def received() -> bool:
            with contextlib.suppress(BlockingIOError):
                self._received += self._reader.feed(self.other.recv(1 << 20))
            return len(self._received) >= count

        self.until(received)
        self.other.settimeout(DEADLINE_S)
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def close(self) -> None:
        self.other.close()
        self.until(self.ended.done)
        self.loop.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def hello(**settings: object) -> list[object]:
    told = {"role": "functions", "node": "a" * 40, "cluster": 1, "pid": 7, "port": 6379, **settings}
    return ["HELLO", 1, *[part for pair in told.items() for part in pair]]


def test_a_worker_that_is_greeted_says_it_is_ready(ends: Ends) -> None:
    ends.tell(*hello(**{"job-timeout-ms": 500, "new-thing": "x"}))
    ((verb, version, pid),) = ends.take()
    assert (verb, version, int(pid) > 0) == (b"READY", b"1", True)
    assert ends.hello is not None and ends.hello.cluster and ends.hello.node == "a" * 40
    assert ends.hello.setting("job-timeout-ms", 0) == 500
    ends.tell("SETTING", "job-timeout-ms", "700")
    ends.until(lambda: ends.channel.hello.setting("job-timeout-ms", 0) == 700)


def test_another_protocol_version_is_refused(ends: Ends) -> None:
    ends.tell("HELLO", 2)
    ends.until(ends.ended.done)
    assert "version 2" in str(ends.ended.result())


def test_ping_is_answered(ends: Ends) -> None:
    ends.tell("PING")
    assert ends.take() == [[b"PONG"]]


def test_answers_of_one_turn_are_written_together(ends: Ends) -> None:
    ends.other.sendall(b"".join(encode("ASK", i) for i in range(50)))
    assert ends.take(50) == [[b"ANSWER", b"%d" % i] for i in range(50)]


@pytest.mark.parametrize("data", [encode("NOSUCH", 1), b"garbage\r\n", encode("SETTING", "x")])
def test_a_channel_ends_at_what_it_does_not_understand(ends: Ends, data: bytes) -> None:
    ends.other.sendall(data)
    ends.until(ends.ended.done)
    assert isinstance(ends.ended.result(), ChannelError)
    with pytest.raises(ChannelError):
        ends.channel.send("LATE")


def test_end_of_file_is_an_end_without_a_reason(ends: Ends) -> None:
    ends.other.close()
    ends.until(ends.ended.done)
    assert ends.ended.result() is None


def test_frames_of_threads_are_not_mixed(ends: Ends) -> None:
    def write(name: int) -> None:
        for i in range(100):
            ends.channel.send("T", name, i, b"x" * 3000)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    frames = ends.take(400)
    for thread in threads:
        thread.join(DEADLINE_S)
    for name in range(4):
        assert [int(f[2]) for f in frames if int(f[1]) == name] == list(range(100))


def test_a_thread_waits_while_too_much_is_unsent(ends: Ends) -> None:
    ends.channel.max_unsent_bytes = 100_000
    written = []

    def write() -> None:
        for i in range(50):
            ends.channel.send("BIG", b"x" * 100_000)
            written.append(i)

    thread = threading.Thread(target=write)
    thread.start()
    ends.until(lambda: ends.channel._unsent_bytes > 100_000)
    assert len(written) < 50
    assert len(ends.take(50)) == 50
    thread.join(DEADLINE_S)
    assert len(written) == 50


def test_a_server_that_reads_nothing_ends_the_channel(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STALLED_S", 0.05)
    ends.channel.max_unsent_bytes = 1
    said: list[str] = []

    def write() -> None:
        for _ in range(3):
            try:
                ends.channel.send("BIG", b"x" * (4 << 20))
            except ChannelError as error:
                said.append(str(error))

    thread = threading.Thread(target=write)
    thread.start()
    ends.until(ends.ended.done)
    thread.join(DEADLINE_S)
    assert said == ["the server has read nothing for 0.05 s", "the channel has ended"]
    assert ends.channel.closed and str(ends.ended.result()) == said[0]


def test_frames_behind_one_whose_handling_is_broken_off_are_handled(ends: Ends) -> None:
    ends.tell("EXIT")
    ends.tell("ASK", "1")
    ends.tell("ASK", "2")
    with pytest.raises(SystemExit):
        ends.until(lambda: False)
    assert ends.take(2) == [[b"ANSWER", b"1"], [b"ANSWER", b"2"]]


def test_reading_nested_handles_frames_until_the_answer_is_there(ends: Ends) -> None:
    async def ask() -> list[Frame]:
        ends.channel.send("QUESTION")
        ends.other.sendall(encode("SAY", "first") + encode("SAY", "answer"))
        ends.channel.read_until(lambda: [b"SAY", b"answer"] in ends.seen, float("inf"))
        assert ends.channel.nesting == 0
        return ends.seen

    assert ends.loop.run_until_complete(ask()) == [[b"SAY", b"first"], [b"SAY", b"answer"]]
    assert ends.take() == [[b"QUESTION"]]


def test_reading_nested_writes_what_the_socket_did_not_take_at_once(ends: Ends) -> None:
    reader = FrameReader()

    def answer_when_all_has_come() -> None:
        while not list(reader.feed(data := ends.other.recv(1 << 16), len(data))):
            pass
        ends.tell("SAY", "answer")

    other = threading.Thread(target=answer_when_all_has_come)

    async def job() -> None:
        ends.channel.send("CALL", 1, b"x" * 5_000_000)
        ends.channel.flush()  # as much as goes, before anyone reads
        other.start()
        ends.channel.read_until(lambda: [b"SAY", b"answer"] in ends.seen, monotonic() + DEADLINE_S)

    ends.loop.run_until_complete(job())
    other.join(DEADLINE_S)


def test_reading_nested_ends_at_its_deadline_and_with_the_channel(ends: Ends) -> None:
    async def wait(deadline: float) -> None:
        ends.channel.read_until(lambda: False, deadline)

    with pytest.raises(DeadlineError):
        ends.loop.run_until_complete(wait(monotonic() + 0.02))
    ends.other.shutdown(socket.SHUT_WR)
    with pytest.raises(ChannelError):
        ends.loop.run_until_complete(wait(float("inf")))


def test_a_job_ends_once(ends: Ends) -> None:
    table = JobTable(ends.channel, ends.loop)
    job = Job([b"JOB", b"5", b"RUN", b"0"], table)
    table.add(job)
    assert job.done(b"+OK\r\n", 1, 2) and not job.done(b"+AGAIN\r\n") and not job.fail("ERR x")
    assert job.finished
    assert ends.take() == [[b"DONE", b"5", b"+OK\r\n", b"1", b"2"]]


def test_a_job_past_its_deadline_is_stopped_and_answered(ends: Ends) -> None:
    table = JobTable(ends.channel, ends.loop)
    job = Job([b"JOB", b"6", b"RUN", b"20"], table)
    stopped = []
    job.on_cancel = lambda: stopped.append(job.id)
    table.add(job)
    ((verb, number, reply),) = ends.take()
    assert (verb, number, reply[:4]) == (b"DONE", b"6", b"-ERR")
    assert stopped == [6] and not job.done(b"+LATE\r\n")


def test_jobs_that_end_while_deadlines_are_looked_at_do_not_stop_that(ends: Ends) -> None:
    class Ending(Job):
        """Whenever its deadline is looked at, the job behind it ends."""

        @property
        def deadline(self) -> float:  # type: ignore[override]
            behind.done(b"+OK\r\n")
            return float("inf")

        @deadline.setter
        def deadline(self, _: float) -> None:
            pass

    table = JobTable(ends.channel, ends.loop)
    first = Ending([b"JOB", b"1", b"RUN", b"0"], table)
    behind = Job([b"JOB", b"2", b"RUN", b"0"], table)
    late = Job([b"JOB", b"3", b"RUN", b"20"], table)
    table.waiting.update({1: first, 2: behind})
    table.add(late)
    done, failed = ends.take(2)
    assert done == [b"DONE", b"2", b"+OK\r\n"] and failed[:2] == [b"DONE", b"3"]


def test_a_job_whose_answer_finds_no_memory_can_still_be_failed(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = JobTable(ends.channel, ends.loop)
    job = Job([b"JOB", b"8", b"RUN", b"0"], table)
    table.add(job)
    with monkeypatch.context() as patched:
        patched.setattr("keymiss.channel.job.encode", raise_memory_error)
        with pytest.raises(MemoryError):
            job.done(b"+OK\r\n", 1)
    assert job.fail("ERR no memory")
    assert ends.take() == [[b"DONE", b"8", b"-ERR no memory\r\n"]]


def raise_memory_error(*_: object) -> bytes:
    raise MemoryError


def test_a_cancelled_job_is_stopped_and_not_answered(ends: Ends) -> None:
    table = JobTable(ends.channel, ends.loop)
    job = Job([b"JOB", b"7", b"RUN", b"0"], table)
    stopped = []
    job.on_cancel = lambda: stopped.append(job.id)
    table.add(job)
    table.cancel(7)
    table.cancel(99)
    assert stopped == [7] and not job.done(b"+LATE\r\n")


def test_the_end_of_a_process_is_noticed() -> None:
    loop = asyncio.new_event_loop()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    gone: asyncio.Future[None] = loop.create_future()
    watch_pid(process.pid, loop, lambda: gone.set_result(None))
    process.kill()
    loop.run_until_complete(asyncio.wait_for(gone, DEADLINE_S))
    process.wait()
    loop.close()


def test_a_thread_that_gathers_writes_when_it_flushes(ends: Ends) -> None:
    seen: list[list[bytes]] = []

    def answers() -> None:
        for name in ("at once", "kept"):
            ends.channel.write(encode(name), later=True)
            seen.append(_readable(ends))
            gather()
        flush_gathered()
        seen.append(_readable(ends))

    _run_in_thread(answers)
    assert seen == [[b"at once"], [], [b"kept"]]


def test_what_cannot_wait_takes_what_was_kept_along(ends: Ends) -> None:
    def asks() -> None:
        gather()
        ends.channel.write(encode("kept"), later=True)
        ends.channel.send("now")

    _run_in_thread(asks)
    assert _readable(ends) == [b"kept", b"now"]


def test_a_thread_keeps_no_more_back_than_it_may(ends: Ends) -> None:
    def answers() -> None:
        gather()
        ends.channel.write(encode("large", b"x" * (1 << 17)), later=True)

    _run_in_thread(answers)
    assert ends.other.recv(5) == b"*2\r\n$"


def test_a_loop_that_gathers_writes_before_its_turn_ends_and_keeps_no_channel_that_has_ended() -> None:
    seen: list[list[bytes]] = []
    gone: list[bool] = []

    def turn() -> None:
        gather()
        ends = Ends()
        ends.channel.write(encode("answer"), later=True)
        seen.append(_readable(ends))
        flush_gathered()
        seen.append(_readable(ends))
        ends.channel.write(encode("last"), later=True)
        ends.channel.end(None)
        seen.append(_readable(ends))
        ends.loop.run_until_complete(ends.ended)
        ends.loop.close()
        ends.other.close()
        ended = weakref.ref(ends.channel)
        del ends
        gc.collect()
        gone.append(ended() is None)

    _run_in_thread(turn)
    assert seen == [[], [b"answer"], [b"last"]]
    assert gone == [True]


def _run_in_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


def _readable(ends: Ends) -> list[bytes]:
    """The verbs of the frames that are there now."""
    if not select.select([ends.other], [], [], 0)[0]:
        return []
    return [frame[0] for frame in FrameReader().feed(ends.other.recv(1 << 16))]
