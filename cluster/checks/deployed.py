"""What was deployed: models, functions and tokens are on every shard."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from keymiss.cli.words import count
from keymiss.client import Shard, connect
from keymiss.corpus.tokenised import count_paragraphs, count_tokens
from keymiss.doctor.check import Finding, fail, ok, warn

from .reading import LOCAL, TIMEOUT_S, Reading, Server

_TAG = re.compile(r"\{[^{}]*\}")
STORE, DEPLOY = "keymiss model store", "keymiss deploy"


def models(reading: Reading) -> Iterator[Finding]:
    """Each model is on every shard."""
    masters = reading.masters
    on: defaultdict[str, list[Server]] = defaultdict(list)
    tags = {server.name: f"{{{_shard_of(server, reading).hash_tag}}}" for server in masters}
    # Functions look for a model of each shard under its tag, which changes with the shard's first slot.
    each = {_TAG.sub("", key) for one in masters for key in one.models if key.endswith(tuple(tags.values()))}
    for server in masters:
        own, names = tags[server.name], {key: _TAG.sub("", key) for key in server.models}
        for name in {name for key, name in names.items() if name not in each or key.endswith(own)}:
            on[name].append(server)
    if masters and not on:
        yield warn("none is stored", f"{STORE}{_where(reading)}")
    for name, servers in on.items():
        without = [server.name for server in masters if server not in servers]
        if without and len(masters) > 1 and any(_TAG.search(key) for one in servers for key in one.models):
            yield fail(f"{name} is not on {', '.join(without)}", f"{STORE}{_where(reading)}")
        else:
            yield ok(f"{name} is on {count(len(servers), 'shard')}")


def _shard_of(server: Server, reading: Reading) -> Shard:
    """The shard of a master, as any of the servers sees it."""
    seen = (shard for one in reading.here for shard in one.shards)
    return next(shard for shard in seen if (shard.host, shard.port) == (server.host, server.port))


def one_copy(reading: Reading) -> Iterator[Finding]:
    """Shards of this host keep the files of models in one folder, so that memory holds them once."""
    folders: defaultdict[Path, list[str]] = defaultdict(list)
    for server in reading.here:
        told = server.settings.get("keymiss.models-dir")
        if told and server.host == LOCAL:
            folders[Path(server.settings.get("dir", "."), told).resolve()].append(server.name)
    if len(folders) > 1:
        mend = "keymiss.models-dir of one folder in the configuration of all of them, then restart them"
        yield warn(f"models lie in {len(folders)} folders, so memory may hold them as often", mend)
    for folder, servers in folders.items():
        files = [path for path in folder.glob("*") if path.is_file()] if folder.is_dir() else []
        if len(folders) == 1 and files:
            yield ok(f"models in {folder}: {len(files)}, for {count(len(servers), 'server')}")


def functions(reading: Reading) -> Iterator[Finding]:
    """All masters have the same functions, and these do not fail."""
    masters = reading.masters
    told = {server.name: server.registrations for server in masters}
    silent = [name for name, functions in told.items() if functions is None]
    if silent:
        log = "grep 'functions worker' */server.log | tail   # in the cluster's folder"
        yield fail(f"the functions worker of {', '.join(silent)} does not say what it has", log)
        return
    on: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for name, functions in told.items():
        for one in functions or ():
            on[one.session, one.reader, one.prefix or one.description].append(name)
    if masters and not on:
        yield warn("none is deployed", f"{DEPLOY}{_where(reading)}")
    for (session, reader, prefix), servers in on.items():
        missing = sorted(set(told) - set(servers))
        if missing:
            what = f"{session} ({reader} {prefix})"
            yield fail(f"{what} is not on {', '.join(missing)}", f"{DEPLOY}{_where(reading)}")
    failing = [(server, one) for server in masters for one in server.registrations or () if one.failures]
    for server, one in failing:
        what = f"{one.session} on {one.prefix or one.description or one.reader}"
        said = f"{what} has failed {one.failures} times on {server.name}"
        yield warn(said, f"{server.cli} RG.DUMPREGISTRATIONS")
    if on and not failing:
        yield ok(f"{count(len(on), 'registration')} on {count(len(masters), 'shard')}")


def tokens(reading: Reading) -> Iterator[Finding]:
    """Every paragraph has its tokens."""
    done = total = 0
    for server in reading.masters:
        tag = _shard_of(server, reading).hash_tag
        with closing(connect(server.host, server.port, TIMEOUT_S)) as client:
            total += count_paragraphs(client, tag)
            done += count_tokens(client, tag)
    if done < total:
        yield warn(f"{done} of {total} paragraphs have their tokens", f"{DEPLOY}{_where(reading)}")
    elif total:
        yield ok(f"all {total} paragraphs have theirs")


def _where(reading: Reading) -> str:
    """The option that names this cluster."""
    if reading.place.port is not None:
        return f" --port {reading.place.port}"
    return f" {reading.dir}"
