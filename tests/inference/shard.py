"""The module's end of a channel, for tests of the models worker: a real worker process, frames sent and
received."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.channel_end import ModuleEnd

from keymiss.channel import Frame, Tensor, encode, parse_tensors, tensor_parts


@dataclass
class StoredModel:
    """A model as the module would name it in a frame."""

    path: Path
    backend: str = "TORCH"
    device: str = "CPU"
    tag: str = ""
    batchsize: int = 0
    minbatchsize: int = 0
    minbatchtimeout_ms: int = 0
    names: tuple[Sequence[str], Sequence[str]] = ((), ())  # inputs and outputs, as LOAD told them
    digest: str = field(default="")

    def __post_init__(self) -> None:
        self.digest = self.digest or hashlib.sha256(self.path.read_bytes()).hexdigest()

    def part(self) -> bytes:
        options = [self.tag, self.batchsize, self.minbatchsize, self.minbatchtimeout_ms]
        names = [part for some in self.names for part in (len(some), *some)]
        return encode(str(self.path), self.digest, self.backend, self.device, *options, *names)


@dataclass
class StoredScript:
    """A script as the module would name it in a frame."""

    source: str
    entry_points: Sequence[str] = ()
    device: str = "CPU"

    def parts(self) -> list[str | int]:
        digest = hashlib.sha256(self.source.encode()).hexdigest()
        return [digest, self.device, self.source, len(self.entry_points), *self.entry_points]


@dataclass
class ModelOp:
    """An op of a DAG that runs a model on the tensors with these numbers."""

    model: StoredModel
    inputs: Sequence[int] = (0,)
    outputs: int = 1

    def parts(self) -> list[bytes | str | int]:
        return ["MODEL", self.model.part(), self.outputs, len(self.inputs), *self.inputs]


@dataclass
class ScriptOp:
    """An op of a DAG that calls a function of a script."""

    script: StoredScript
    function: str
    inputs: Sequence[int] = (0,)
    outputs: int = 1
    list_at: int = -1
    keys: Sequence[bytes | str] = ()
    args: Sequence[bytes | str] = ()

    def parts(self) -> list[bytes | str | int]:
        named = [len(self.keys), *self.keys, len(self.args), *self.args]
        inputs = [len(self.inputs), *self.inputs]
        return ["SCRIPT", *self.script.parts(), self.function, self.outputs, *inputs, self.list_at, *named]


@dataclass
class Ran:
    """The DONE of a RUN."""

    reply: bytes
    duration_us: int
    calls: int
    samples: int
    errors: int
    outputs: list[Tensor]

    @property
    def counters(self) -> tuple[int, int, int]:
        return self.calls, self.samples, self.errors


@dataclass
class Graphed:
    """The DONE of a DAG. `wanted` holds None for a tensor that was never made."""

    reply: bytes
    ops: list[Ran]  # each without its outputs
    wanted: list[Tensor | None]


class Shard(ModuleEnd):
    """Speaks to one models worker."""

    def __init__(self, sock: socket.socket, **settings: object) -> None:
        super().__init__(sock, "models", **settings)

    def receive_info(self) -> dict[str, float]:
        """The numbers of the next INFO."""
        _, count, *parts = self.receive("INFO", timeout_s=10.0)
        pairs = zip(parts[: 2 * int(count) : 2], parts[1 : 2 * int(count) : 2], strict=True)
        return {name.decode(): float(value) for name, value in pairs if not name.endswith(b"_buckets")}

    def silent_for(self, seconds: float, verb: str, first: int) -> bool:
        """Whether no such frame comes within that time."""
        try:
            self.receive(verb, first, seconds)
        except TimeoutError:
            return True
        return False

    def job(self, kind: str, *parts: bytes | str | int, deadline_ms: int = 0) -> int:
        self.last_id += 1
        self.send("JOB", self.last_id, kind, deadline_ms, *parts, self.last_id)
        return self.last_id

    def load(self, model: StoredModel) -> Frame:
        """The elements of DONE behind the id."""
        return self.receive("DONE", self.job("LOAD", model.part()))[2:]

    def start(
        self, model: StoredModel, tensors: Sequence[Tensor], outputs: int = 1, deadline_ms: int = 0
    ) -> int:
        return self.job("RUN", model.part(), outputs, *tensor_parts(tensors), deadline_ms=deadline_ms)

    def finish(self, job: int) -> Ran:
        parts = self.receive("DONE", job)
        tensors, end = parse_tensors(parts, 7)
        assert end == len(parts)
        return Ran(parts[2], *map(int, parts[3:7]), tensors)

    def run(
        self, model: StoredModel, tensors: Sequence[Tensor], outputs: int = 1, deadline_ms: int = 0
    ) -> Ran:
        return self.finish(self.start(model, tensors, outputs, deadline_ms))

    def compile(self, script: StoredScript) -> bytes:
        """What DONE says."""
        return self.receive("DONE", self.job("COMPILE", *script.parts()))[2]

    def start_dag(
        self,
        tensors: Sequence[Tensor],
        ops: Sequence[ModelOp | ScriptOp],
        wanted: Sequence[int] = (),
        deadline_ms: int = 0,
    ) -> int:
        said = [part for op in ops for part in op.parts()]
        parts = [*tensor_parts(tensors), len(ops), *said, len(wanted), *wanted]
        return self.job("DAG", *parts, deadline_ms=deadline_ms)

    def finish_dag(self, job: int) -> Graphed:
        parts = self.receive("DONE", job)
        at = 4 + 5 * int(parts[3])
        ops = [Ran(parts[n], *map(int, parts[n + 1 : n + 5]), []) for n in range(4, at, 5)]
        ends = range(at + 1, at + 1 + 3 * int(parts[at]), 3)
        wanted = [parse_tensors([b"1", *parts[n : n + 3]], 0)[0][0] if parts[n] else None for n in ends]
        assert len(parts) == at + 1 + 3 * len(wanted)
        return Graphed(parts[2], ops, wanted)

    def dag(
        self, tensors: Sequence[Tensor], ops: Sequence[ModelOp | ScriptOp], wanted: Sequence[int] = ()
    ) -> Graphed:
        return self.finish_dag(self.start_dag(tensors, ops, wanted))

    def asked(self, verb: str) -> tuple[int, int, list[bytes]]:
        """The next CALL or MODEL of a script: its number, its job, and what it says."""
        _, seq, job, *parts = self.receive(verb)
        return int(seq), int(job), parts


def floats(*shape: int, values: Sequence[float]) -> Tensor:
    return Tensor.from_values("FLOAT", shape, values)
