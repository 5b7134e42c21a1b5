"""`keymiss form`: servers that run already, on this host or on others, become a cluster."""

from __future__ import annotations

import re

import click
import redis

from keymiss.cli.console import plain_console
from keymiss.cli.words import count
from keymiss.client import Address, find_shards
from keymiss.hashtags import share_of

from .layout import LAST_PORT
from .topology import Member, NotFormed, join

BUS_OFFSET = 10_000  # from a server's port to that of its cluster bus, where no other is given
DEADLINE_S = 120.0

_ADDRESS = re.compile(r"(?P<host>[^@]+):(?P<port>[0-9]{1,5})(@(?P<bus_port>[0-9]{1,5}))?")

console = plain_console()


@click.command()
@click.argument("servers", nargs=-1, required=True, metavar="HOST:PORT[@BUSPORT]...")
@click.option(
    "--replicas",
    type=click.IntRange(0, 5),
    default=0,
    show_default=True,
    help="Replicas of each master: the servers after the masters are theirs in turn.",
)
@click.option(
    "--wait",
    "deadline_s",
    type=click.FloatRange(1, 3600),
    default=DEADLINE_S,
    show_default=True,
    help="Seconds until the servers must have become a cluster.",
)
def form(servers: tuple[str, ...], replicas: int, deadline_s: float) -> None:
    """Make a cluster of servers that run: cluster-enabled, each able to reach the others.

    What is done already is left alone: a cluster that is whole stays as it is.
    """
    members = _members([_address(server) for server in dict.fromkeys(servers)], replicas)
    try:
        join(members, deadline_s)
    except (NotFormed, OSError, redis.ResponseError) as error:
        raise click.ClickException(f"no cluster was made: {error}") from error
    first = members[0]
    shards = find_shards([Address(first.host, first.port)])
    replicas = sum(len(shard.replicas) for shard in shards)
    size = count(len(shards) + replicas, "server")
    console.print(f"A cluster of {size}, {len(shards)} of them masters.")


def _address(server: str) -> tuple[str, int, int]:
    """Host, port and port of the cluster bus, written as CLUSTER NODES writes them."""
    found = _ADDRESS.fullmatch(server)
    if found is None:
        raise click.BadParameter(f"{server!r}: write it as HOST:PORT, or as HOST:PORT@BUSPORT")
    port = int(found["port"])
    bus_port = int(found["bus_port"] or port + BUS_OFFSET)
    for number in (port, bus_port):
        if not 1 <= number <= LAST_PORT:
            raise click.BadParameter(
                f"{server!r}: {number} is no port; of the cluster bus, @BUSPORT names another"
            )
    return found["host"], port, bus_port


def _members(addresses: list[tuple[str, int, int]], replicas: int) -> list[Member]:
    """Masters first, each replica as far behind the previous one of its master as there are masters."""
    masters, left = divmod(len(addresses), 1 + replicas)
    if left:
        raise click.UsageError(
            f"{len(addresses)} servers cannot be masters with {count(replicas, 'replica')} each"
        )
    names = [f"{host}:{port}" for host, port, _ in addresses]
    return [
        Member(
            name,
            *address,
            slots=share_of(n, masters) if n < masters else None,
            replica_of=names[n % masters] if n >= masters else None,
        )
        for n, (name, address) in enumerate(zip(names, addresses, strict=True))
    ]
