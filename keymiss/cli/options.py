"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

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
