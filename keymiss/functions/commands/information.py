"""Commands that tell of the worker and of the cluster."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keymiss.errors import GearsError
from keymiss.functions import replies
from keymiss.functions.commands.arguments import as_str
from keymiss.functions.commands.nested import nested
from keymiss.functions.job import FunctionJob
from keymiss.functions.profiles import DEFAULT_ORDER

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

_API_VERSION = 10000
_RUN_IDS_S = 2.0


def statistics(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.PYSTATS: memory of the worker that runs the functions, in bytes. Python does not count what it has
    returned.
    """
    now = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return nested(["TotalAllocated", max(peak, now), "PeakAllocated", max(peak, now), "CurrAllocated", now])


def profile(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.PYPROFILE STATS session [order] | RESET session: where the time of the session's functions went on
    this shard, while ProfileExecutions was set.
    """
    word = arguments[0].upper()
    if word not in (b"STATS", b"RESET"):
        raise GearsError("Wrong subcommand given to RG.PYPROFILE")
    if len(arguments) < 2:
        raise GearsError("ERR wrong number of arguments for 'rg.pyprofile' command")
    name = as_str(arguments[1])
    session = gears.sessions.get(name)
    if session is None:
        raise GearsError(f"Session {name} does not exists")
    if word == b"STATS":
        order = as_str(arguments[2]) if len(arguments) > 2 else DEFAULT_ORDER
        return replies.bulk(session.profile.told(order).encode("utf-8", "replace"))
    session.profile.reset()
    return replies.OK


def plugins(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.DUMPPLUGINS: the one language there is."""
    return nested([["GearsPythonPlugin", _API_VERSION]])


def cluster(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.INFOCLUSTER: this shard and all that own slots. The run id of one that does not answer is zeros."""
    if not gears.shard.is_cluster:
        return replies.bulk(b"no cluster mode")
    run_ids, _ = gears.peers.ask("run_id", timeout_s=_RUN_IDS_S)
    run_ids[gears.shard.node] = gears.shard.hello.run_id
    shards: list[Any] = [
        [
            *("id", shard.node, "ip", shard.host, "port", shard.port, "unixSocket", "None"),
            *("runid", run_ids.get(shard.node, "0" * 40)),
            *("minHslot", shard.first_slot, "maxHslot", shard.last_slot, "pendingMessages", 0),
        ]
        for shard in gears.peers.shards()
    ]
    return nested(["MyId", gears.shard.node, "MyRunId", gears.shard.hello.run_id, shards])


def refresh_cluster(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.REFRESHCLUSTER: the cluster is looked at anew for each execution, so there is nothing to refresh."""
    return replies.OK
