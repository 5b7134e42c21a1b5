"""A registration that other shards and the server itself bring at the same moment, and of which the server
refuses the first: it is there in the end."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest
from support.channel_end import ModuleEnd, child_worker

from keymiss.channel import parse_reply
from keymiss.functions import blobs
from keymiss.functions.deployed import Deployed
from keymiss.functions.registering import Registering, StreamArguments

ME, MASTER = "a" * 40, "b" * 40
NAME, OTHER = f"{MASTER}-1", f"{MASTER}-2"
REFUSED = b"-READONLY registrations are made on the master\r\n"


@pytest.fixture
def module() -> Iterator[ModuleEnd]:
    """A replica in a cluster."""
    with child_worker(package="keymiss.functions") as (ours, _):
        yield ModuleEnd(ours, "functions", node=ME, cluster=1, replica=1)


def blob(name: str = NAME, paused: bool = False) -> bytes:
    """Of a registration that reads streams."""
    arguments = StreamArguments("s:*", 1, 0, "continue", 1, True)
    functions = blobs.dump(Registering("StreamReader", (), "async", arguments, None, None), {}, {})
    changed = (2 if paused else 1, MASTER)
    return Deployed(name, changed, session="s", mode="async", paused=paused, functions=functions).blob()


def tell_and_replicate(module: ModuleEnd, blob: bytes) -> None:
    """What a replica is told that another shard takes for a master: by that shard, and by its own master."""
    module.send("PEER", MASTER, pickle.dumps(("question", 1, "deploy", ([blob], False))))
    hook = module.receive("HOOK")
    module.send("REGISTRATION", NAME, blob)
    module.send("RESULT", hook[1], REFUSED)
    module.receive("SEND")  # the answer, which is the refusal


def there(module: ModuleEnd) -> list[tuple[str, str]]:
    """The registrations and what they do."""
    module.last_id += 1
    module.send("JOB", module.last_id, "COMMAND", 0, 0, "", "RG.DUMPREGISTRATIONS")
    entries = parse_reply(module.receive("DONE", module.last_id)[2])
    return [(entry[1].decode(), entry[7][-1].decode()) for entry in entries]


def test_what_is_refused_from_another_shard_and_replicated_is_there(module: ModuleEnd) -> None:
    tell_and_replicate(module, blob())
    assert there(module) == [(NAME, "OK")]


def test_a_pause_that_is_refused_from_another_shard_and_replicated_is_one(module: ModuleEnd) -> None:
    module.send("REGISTRATION", NAME, blob())
    assert there(module) == [(NAME, "OK")]
    tell_and_replicate(module, blob(paused=True))
    assert there(module) == [(NAME, "PAUSED")]


def test_jobs_that_come_before_a_refused_one_is_replicated_wait_for_it(module: ModuleEnd) -> None:
    told = blob()
    module.send("PEER", MASTER, pickle.dumps(("question", 1, "deploy", ([told], False))))
    hook = module.receive("HOOK")
    module.send("REGISTRATION", NAME, told)
    module.send("REGISTRATION", OTHER, blob(OTHER))
    module.send("RESULT", hook[1], REFUSED)
    assert sorted(there(module)) == [(NAME, "OK"), (OTHER, "OK")]
