"""A peer's server for the length of a measurement."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from keymiss_deploy.models.export import export
from keymiss_deploy.models.source import DEFAULT, cache_folder, default_model, slug_of

from keymiss.inference.allocator import SWITCH, find_jemalloc
from keymiss.inference.openmp import spinning_briefly

from ..generator import Target
from ..servers import free_ports
from ..workload import Item
from .environments import PeerUnavailable, environment, own_environment
from .servers import Peer

START_DEADLINE_S = 120.0
STOP_DEADLINE_S = 15.0
POLL_S = 0.1
MARK = "KEYMISS_BENCH_PEER"  # in the environment of all that a peer starts, so that all of it is ended


@contextmanager
def hosted(peer: Peer, items: Sequence[Item], threads: int) -> Iterator[Target]:
    """The peer, asked about `items`, gone at the end with all that it started. PeerUnavailable where it
    cannot be installed or does not answer."""
    python = environment(peer.environment, peer.requirements)
    with tempfile.TemporaryDirectory(prefix="keymiss-") as scratch:
        (port,) = free_ports(1)
        command = [python, peer.program, "--model", _model(peer), "--tokenizer", export().tokenizer]
        command += [
            "--port",
            str(port),
            "--threads",
            str(threads),
            "--dtype",
            peer.dtype,
            "--scratch",
            scratch,
        ]
        log, mark = Path(scratch, "server.log"), uuid.uuid4().hex
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(threads) | {MARK: mark},
                start_new_session=True,
            )
        try:
            target = Target(port, "http", [_request(peer.path, item) for item in items])
            _wait_until_it_answers(process, f"http://127.0.0.1:{port}{peer.path}", items[0], log)
            yield target
        finally:
            _end(process, mark)


def _model(peer: Peer) -> Path:
    if peer.form == "onnx":
        return Path(export(form="onnx").model("onnx"))
    return huggingface_folder()


def huggingface_folder() -> Path:
    """The default model as transformers reads it."""
    return Path(default_model(cache_folder() / slug_of(DEFAULT) / "huggingface"))


def _environment(threads: int) -> dict[str, str]:
    """As the models worker has it: the allocator, and how threads wait."""
    library = find_jemalloc()
    ours = own_environment() | {"OMP_NUM_THREADS": str(threads)}
    ours |= spinning_briefly(ours)
    ours |= {"HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0", "TOKENIZERS_PARALLELISM": "false"}
    ours.pop(SWITCH, None)
    return ours | ({"LD_PRELOAD": str(library)} if library else {})


def _body(item: Item) -> bytes:
    return json.dumps({"question": item.question, "context": item.paragraph}).encode()


def _request(path: str, item: Item) -> bytes:
    body = _body(item)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, item: Item, log: Path) -> None:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, _body(item), headers)
    end = time.monotonic() + START_DEADLINE_S
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=START_DEADLINE_S):
            return
        if process.poll() is not None or time.monotonic() > end:
            raise PeerUnavailable(f"it did not answer:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(POLL_S)


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    """Politely, then whatever still carries the mark by force: servers start processes in sessions of their
    own."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_DEADLINE_S)
    end = time.monotonic() + STOP_DEADLINE_S
    while (left := _marked(mark)) and time.monotonic() < end:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.poll()
        time.sleep(POLL_S)
    process.wait(STOP_DEADLINE_S)


def _marked(mark: str) -> list[int]:
    """Living processes that were started with this mark."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):  # gone, or another user's
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found
