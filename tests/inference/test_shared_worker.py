"""One models worker for the shards of a host, on a unix socket; and how a worker starts and ends."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from inference.shard import Shard, StoredModel, floats
from support.channel_end import PATIENCE_S, child_worker, end
from support.models_worker import dial, start_worker
from support.waiting import wait_until

from keymiss.inference.allocator import find_jemalloc
from keymiss.inference.store import KEPT_MODELS
from keymiss.inference.worker import Worker
from keymiss.logs import Lines

Make = Callable[..., StoredModel]
Connect = Callable[..., Shard]
X = floats(1, 3, values=[1, 2, 3])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models.sock"


@pytest.fixture
def worker(path: Path) -> Iterator[subprocess.Popen[str]]:
    started = start_worker("--listen", str(path))
    yield started
    end(started)


@pytest.fixture
def connect(worker: subprocess.Popen[str], path: Path) -> Iterator[Connect]:
    """connect(): a channel to the worker, greeted."""
    opened: list[Shard] = []

    def make(**settings: object) -> Shard:
        opened.append(Shard(wait_until(lambda: dial(path), PATIENCE_S, "the worker listens"), **settings))
        return opened[-1]

    yield make
    for shard in opened:
        shard.sock.close()


def told(shard: Shard, wanted: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """The first INFO that is as wanted."""
    while not wanted(info := shard.receive_info()):
        pass
    return info


def test_shards_share_one_loaded_model(connect: Connect, model: Make) -> None:
    shards = [connect(), connect()]
    jobs = [shard.job("LOAD", model("Wide").part()) for shard in shards]
    for shard, job in zip(shards, jobs, strict=True):
        assert shard.receive("DONE", job)[2] == b"+OK\r\n"
    info = told(shards[0], lambda info: info["models_loaded"] > 0 and info["channels"] == 2)
    assert info["models_loaded"] == 1
    assert info["bytes_mapped"] > 1_000_000


def test_a_model_is_one_before_and_after_its_names_are_known(connect: Connect, model: Make) -> None:
    shard = connect()
    shard.load(model("Linear"))
    assert shard.run(model("Linear", names=(["x"], [""])), [X]).reply == b"+OK\r\n"
    assert told(shard, lambda info: info["jobs_run"] > 0)["models_loaded"] == 1


def test_requests_of_two_shards_run_as_one_batch(connect: Connect, model: Make) -> None:
    rows = model("Rows", batchsize=2, minbatchsize=2)
    one, two = connect(), connect()
    one.load(rows)
    two.load(rows)
    first = one.start(rows, [floats(1, 2, values=[1, 2])], 2)
    assert two.run(rows, [floats(1, 2, values=[3, 4])], 2).outputs[1].values == [2.0]
    assert one.finish(first).outputs[1].values == [2.0]


def test_a_shard_that_leaves_takes_nothing_from_the_others(connect: Connect, model: Make) -> None:
    one, two = connect(), connect()
    one.start(model("Steps"), [floats(1, values=[100_000])])
    one.sock.close()
    assert two.run(model("Linear"), [X]).reply == b"+OK\r\n"


def test_a_shard_that_comes_while_no_descriptor_is_free_is_served_later(path: Path, model: Make) -> None:
    log = path.with_suffix(".log")
    with log.open("wb") as file:
        worker = start_worker("--listen", str(path), log=file)
    try:
        wait_until(lambda: dial(path), PATIENCE_S, "the worker listens").close()
        limits = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (0, limits[1]))
        with dial(path) as sock:
            wait_until(lambda: "cannot be accepted" in log.read_text(), PATIENCE_S, "it has no descriptor")
            resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, limits)
            assert Shard(sock).run(model("Linear"), [X]).reply == b"+OK\r\n"
    finally:
        end(worker)


def test_a_frame_that_is_malformed_ends_only_its_own_channel(connect: Connect, model: Make) -> None:
    one, two = connect(), connect()
    one.send("NONSENSE")
    with pytest.raises(ConnectionError):
        one.receive("DONE")
    assert two.run(model("Linear"), [X]).reply == b"+OK\r\n"


def test_too_many_jobs_are_refused(connect: Connect, model: Make) -> None:
    shard = connect(max_jobs=3)
    waiting = model("Rows", batchsize=9, minbatchsize=9)
    jobs = [shard.start(waiting, [floats(1, 2, values=[1, 2])], 2) for _ in range(4)]
    assert shard.receive("DONE", jobs[3])[2].startswith(b"-BUSY")


@pytest.fixture
def many(model: Make, tmp_path: Path) -> list[StoredModel]:
    """More models than are kept where nobody holds them."""
    content = model("Linear").path.read_bytes()
    files = [tmp_path / f"{n}.pt" for n in range(KEPT_MODELS + 3)]
    for n, file in enumerate(files):
        file.write_bytes(content + bytes([n]))
    return list(map(StoredModel, files))


def load_and_unload(shard: Shard, models: Sequence[StoredModel]) -> None:
    for stored in models:
        assert shard.load(stored)[0] == b"+OK\r\n"
        shard.send("UNLOAD", stored.digest)


def test_models_that_nobody_holds_are_kept_and_then_dropped(
    connect: Connect, many: list[StoredModel]
) -> None:
    shard = connect()
    load_and_unload(shard, many)
    told(shard, lambda info: info["models_loaded"] == KEPT_MODELS)


def test_nothing_is_kept_of_models_that_were_dropped(many: list[StoredModel]) -> None:
    async def left() -> tuple[int, int]:
        worker = Worker(asyncio.get_running_loop(), 1, Lines("models"), lambda _: None)
        ours, its = socket.socketpair()
        worker.attach(its, lambda *_: None)
        with ours:
            shard = await asyncio.to_thread(Shard, ours)
            await asyncio.to_thread(load_and_unload, shard, many)
            await asyncio.to_thread(shard.run, many[0], [X])  # what came before it has been read
        worker.watch()
        return len(worker.loads), len(worker.labels)

    assert max(asyncio.run(left())) <= KEPT_MODELS + 1  # and the one that was run


def test_the_socket_is_for_its_user_only(connect: Connect, path: Path) -> None:
    connect()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_socket_left_by_a_killed_worker_is_replaced(
    connect: Connect, worker: subprocess.Popen[str], path: Path, model: Make
) -> None:
    connect()
    end(worker)
    assert path.exists()
    second = start_worker("--listen", str(path))
    try:
        with wait_until(lambda: dial(path), PATIENCE_S, "the second worker listens") as sock:
            assert Shard(sock).run(model("Linear"), [X]).reply == b"+OK\r\n"
    finally:
        end(second)


def test_a_second_worker_on_the_same_socket_gives_way(connect: Connect, path: Path, model: Make) -> None:
    shard = connect()
    second = start_worker("--listen", str(path))
    _, said = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 1
    assert "another models worker serves" in said
    assert shard.run(model("Linear"), [X]).reply == b"+OK\r\n"


def test_a_signal_ends_it_and_removes_the_socket(
    connect: Connect, worker: subprocess.Popen[str], path: Path, model: Make
) -> None:
    shard = connect()
    shard.start(model("Steps"), [floats(1, values=[100_000_000])])
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE_S) == 0
    assert not path.exists()


@pytest.mark.parametrize("steps", [1000, 1], ids=["slow before", "quick before"])
def test_a_worker_whose_device_is_lost_to_an_endless_pass_ends(model: Make, steps: int) -> None:
    """Only a new process has the device back; whoever started it starts another. A model that was quick
    (where the machine is) is endless on the loop's own thread."""
    with child_worker() as (ours, child):
        # Far longer than a pass of these takes, on a busy machine too.
        shard = Shard(ours, hang_timeout_ms=1000)
        for _ in range(40):  # the first are slow whatever they do
            shard.run(model("Steps"), [floats(1, values=[steps])])
        endless = shard.start(model("Steps"), [floats(1, values=[1e9])], deadline_ms=50)
        if steps > 1:
            assert b"deadline" in shard.receive("DONE", endless)[2]
        assert child.wait(PATIENCE_S) == 1
        assert child.stderr is not None
        said = child.stderr.read()
        assert "does not end" in said or (steps == 1 and "Timeout" in said)


def test_a_child_ends_with_its_channel() -> None:
    with child_worker() as (ours, child):
        Shard(ours)
        ours.close()
        assert child.wait(PATIENCE_S) == 0


@pytest.mark.skipif(find_jemalloc() is None, reason="this system has no libjemalloc2")
@pytest.mark.parametrize(("switch", "used"), [({}, True), ({"KEYMISS_JEMALLOC": "0"}, False)])
def test_jemalloc_is_used_unless_switched_off(switch: dict[str, str], used: bool) -> None:
    with child_worker(switch) as (ours, child):
        Shard(ours)
        assert ("libjemalloc" in Path(f"/proc/{child.pid}/maps").read_text()) is used


def test_it_starts_where_the_allocator_cannot_be_preloaded() -> None:
    with child_worker({"LD_PRELOAD": os.devnull}) as (ours, _):
        assert Shard(ours).ready[0] == b"READY"


def test_torch_is_not_imported_before_a_model_needs_it() -> None:
    with child_worker() as (ours, child):
        Shard(ours)
        assert "libtorch" not in Path(f"/proc/{child.pid}/maps").read_text()
