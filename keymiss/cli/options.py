"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

from ..client import STATE_FILE, Address, find_server
from ..client.where import DEFAULT_FOLDER

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

port_option = click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="A server of the cluster.  [default: the first shard of the one in --dir, or 30001]",
)


def where(folder: Path, port: int | None) -> Address:
    """The server that `--dir` and `--port` mean."""
    try:
        return find_server(folder, port=port)
    except (ValueError, KeyError, TypeError) as error:
        raise click.ClickException(f"{folder / STATE_FILE} is damaged: {error}") from error
