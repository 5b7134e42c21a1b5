"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import redis

from ..client import STATE_FILE, Address, Shard, find_servers, find_shards
from ..client.where import DEFAULT_FOLDER, PASSWORD

Command = TypeVar("Command", bound=Callable[..., Any])

folder_option = click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_FOLDER,
    envvar="KEYMISS_DIR",
    show_default=True,
    show_envvar=True,
    help="Where the cluster lives.",
)


def port_option_for(what: str) -> Callable[[Command], Command]:
    """`--port`, of which the help says `what`."""
    return click.option(
        "--port", type=click.IntRange(1, 65535), envvar="KEYMISS_PORT", show_envvar=True, help=what
    )


port_option = port_option_for(
    "A server of the cluster.  [default: the first shard of the one in --dir, or 30001]"
)


def servers_of(folder: Path, port: int | None) -> list[Address]:
    """The servers that `--dir` and `--port` mean, any of which may have to do for the others."""
    with _readable(folder):
        return find_servers(folder, port)


def shards_of(folder: Path, port: int | None) -> list[Shard]:
    """The shards of their cluster: one at least. ClickException where none serves a slot, or the cluster in
    the folder does not answer."""
    servers = servers_of(folder, port)
    try:
        shards = find_shards(servers)
    except redis.AuthenticationError as error:
        where = f"{servers[0].host}:{servers[0].port}"
        raise click.ClickException(f"{where}: {error} ({PASSWORD} names the password)") from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        if port is not None:
            raise
        raise click.ClickException(
            f"{str(error).rstrip('.')}: `keymiss up` starts the cluster in {folder.resolve()}; "
            "--dir and --port name another"
        ) from error
    if not shards:
        raise click.ClickException("no server of the cluster serves a slot: `keymiss doctor` says more")
    return shards


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """ClickException where `cluster.json` is not."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise click.ClickException(f"{folder / STATE_FILE} is damaged: {error}") from error
