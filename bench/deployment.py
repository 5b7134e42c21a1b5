"""A shard that answers questions, deployed as a user would: `keymiss model store`, `load`, `deploy`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from keymiss.client import read_shards
from keymiss.keys import Paragraph, model_key

from .generator import Target
from .servers import running
from .workload import Item

COMMAND_DEADLINE_S = 900.0  # a model may have to be exported, and candidates timed
OF_ANOTHER_CLUSTER = ("KEYMISS_HOST", "KEYMISS_USER", "KEYMISS_PASSWORD")
NEVER_CACHED = {"keymiss.answer-ttl-ms": 0}


@dataclass(frozen=True)
class StoredModel:
    """What AI.MODELGET says of a model, and its file."""

    backend: str
    tag: str
    inputs: list[str]
    outputs: list[str]
    file: Path


@dataclass(frozen=True)
class Deployment:
    """A server of its own, with a client of it, that answers questions about these items."""

    client: redis.Redis
    port: int
    tag: str  # the hash tag
    items: Sequence[Item]

    def key(self, item: Item) -> str:
        """The key that asks."""
        return Paragraph(item.name, self.tag, "1").question_key(item.question)

    def target(self) -> Target:
        return Target(self.port, "resp", [_command("GET", self.key(item)) for item in self.items])

    def stored_model(self, folder: Path) -> StoredModel:
        """The deployed model; its file is written to `folder`."""
        key = model_key(self.tag)
        reply = self.client.execute_command("AI.MODELGET", key)
        fields = dict(zip((name.decode() for name in reply[::2]), reply[1::2], strict=True))
        blob = fields["blob"]
        file = folder / "deployed.model"
        file.write_bytes(b"".join(blob) if isinstance(blob, list) else blob)
        inputs, outputs = ([name.decode() for name in fields[side]] for side in ("inputs", "outputs"))
        return StoredModel(fields["backend"].decode(), fields["tag"].decode(), inputs, outputs, file)


@contextmanager
def deployed(
    binary: str,
    items: Sequence[Item],
    folder: Path,
    model: Sequence[str] = (),
    settings: Mapping[str, object] = NEVER_CACHED,
) -> Iterator[Deployment]:
    """A new server with every paragraph loaded, gone at the end; `model` are options of `keymiss model
    store`. RuntimeError where one of the commands fails, with what it said."""
    with running(binary, module=True, settings=settings) as client:
        port = int(client.connection_pool.connection_kwargs["port"])
        texts = folder / "texts.jsonl"
        named = {item.name: item.paragraph for item in items}
        texts.write_text("".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in named.items()))
        for command in (
            ("model", "store", *model),
            ("load", "--unit", "paragraph", str(texts)),
            ("deploy",),
        ):
            _keymiss(*command, "--port", str(port))
        (shard,) = read_shards(client)
        yield Deployment(client, port, shard.hash_tag, items)


def _keymiss(*arguments: str) -> None:
    command = [sys.executable, "-c", "from keymiss.cli import main; main()", *arguments]
    own = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER_CLUSTER}
    done = subprocess.run(
        command, env=own, capture_output=True, text=True, timeout=COMMAND_DEADLINE_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"keymiss {' '.join(arguments)}:\n{done.stdout}{done.stderr}")


def _command(*arguments: str) -> bytes:
    """A command as the server reads it."""
    encoded = [argument.encode() for argument in arguments]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(one), one) for one in encoded)
