"""The command `keymiss`. Each of its commands is an entry point of the group `keymiss.commands`, imported
when it is used."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points
from typing import NoReturn

import click

from .. import __version__

__all__ = ["main"]


class _Commands(click.Group):
    """The commands that installed packages offer: Keymiss's own and those of its deployment."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(entry.name for entry in _entries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for entry in _entries():
            if entry.name == cmd_name:
                command = entry.load()
                assert isinstance(command, click.Command), f"{entry.value} is no click command"
                return command
        return None


def _entries() -> list[EntryPoint]:
    return list(entry_points(group="keymiss.commands"))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="keymiss")
def _keymiss() -> None:
    """Models and Python functions inside Redis and Valkey: a GET that misses is answered by its shard."""


def main() -> None:
    """Run the command line. Errors of the user's are one line on stderr and exit status 1 (2 for a wrong
    call)."""
    from redis.exceptions import RedisError  # slow to import, and `--help` needs none of it

    try:
        _keymiss.main(prog_name="keymiss")
    except RedisError as error:
        _fail(str(error))
    except OSError as error:  # a folder that is not ours, a full disk
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _fail(why: str) -> NoReturn:
    click.echo(f"Error: {why}", err=True)
    sys.exit(1)
