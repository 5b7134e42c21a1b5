"""The folder of the cluster, and its ports."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from keymiss.client import STATE_FILE
from keymiss.doctor.check import Finding, fail, ok, warn

from ..errors import UpError
from ..layout import Layout, Node
from ..listener import listener
from ..ready import check_free
from .reading import Reading


def state_file(reading: Reading) -> Iterator[Finding]:
    """What `up` wrote can be read."""
    path = reading.place.folder / STATE_FILE
    if reading.damaged:
        named = quote(str(path))
        yield fail(reading.damaged, f"mv {named} {named}.damaged   # then `keymiss up` as it was done before")
    elif reading.layout is not None:
        layout = reading.layout
        yield ok(f"shards: {layout.shards}, replicas of each: {layout.replicas}, from port {layout.port}")
    elif reading.place.port is None:
        yield ok(f"no cluster in {reading.place.folder}: `keymiss up` makes one")


def ports(reading: Reading) -> Iterator[Finding]:
    """Those of servers that do not run are free."""
    if reading.place.port is not None or reading.damaged:
        return
    layout = reading.layout or Layout(reading.place.folder, server="")
    running = {server.port for server in reading.servers if server.pid is not None}
    taken = [said for node in layout.nodes if node.port not in running for said in _taken(node)]
    for port, said in taken:
        another = "keymiss up --port 40001   # or end that program"
        yield (warn if reading.layout is None else fail)(said, f"ss -ltnp 'sport = :{port}'; {another}")
    if not taken:
        state = "taken by its servers" if running else "free"
        yield ok(f"{layout.port} to {layout.last_port} are {state}")


def _taken(node: Node) -> Iterator[tuple[int, str]]:
    for port, what in ((node.port, "port"), (node.bus_port, "cluster bus port")):
        try:
            check_free(port, f"{what} {port} of {node.name}", "--port")
        except UpError:
            yield port, f"{what} {port} of {node.name} is taken by {listener(port) or 'another program'}"


def folder(reading: Reading) -> Iterator[Finding]:
    """The servers that run keep models, and look for the models worker, where the folder is now."""
    layout = reading.layout
    if layout is None or layout.module is None:
        return
    wanted = {"keymiss.models-dir": str(layout.blobs_folder)}
    if layout.shared_models:
        wanted["keymiss.models"] = f"unix:{layout.models_socket}"
    wanted |= {name: value for name, value in layout.settings.items() if name in wanted}
    for server in reading.here:
        for name, place in wanted.items():
            told = server.settings.get(name, place)
            if server.node is not None and told != place:
                restart = f"keymiss down {reading.dir}; {reading.again}"
                yield fail(f"{server.name} has {name} {told}: was the folder moved while it ran?", restart)
                return  # the others are like it: one restart mends all
