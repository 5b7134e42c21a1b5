"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from ..client import STATE_FILE, Address, find_server, find_servers
from ..client.where import DEFAULT_FOLDER

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


def where(folder: Path, port: int | None) -> Address:
    """The server that `--dir` and `--port` mean."""
    with _readable(folder):
        return find_server(folder, port=port)


def all_of(folder: Path, port: int | None) -> list[Address]:
    """The servers that they mean, where any may have to do for the others."""
    with _readable(folder):
        return find_servers(folder, port)


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """ClickException where `cluster.json` is not."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise click.ClickException(f"{folder / STATE_FILE} is damaged: {error}") from error
