"""Commands that carry requirements from one server to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keymiss.functions import replies
from keymiss.functions.commands.arguments import as_str
from keymiss.functions.commands.nested import nested
from keymiss.functions.job import FunctionJob

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

_PIECE_BYTES = 64 << 20  # of a reply: clients need not take it in one string


def export(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.PYEXPORTREQ requirement: [as RG.PYDUMPREQS shows it, [pieces of a file with its wheels]]"""
    shown, data = gears.requirements.exported(as_str(arguments[0]))
    pieces = [data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES)]
    return replies.array([nested(shown), replies.array([replies.bulk(piece) for piece in pieces])])


def import_(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.PYIMPORTREQ piece [piece ...]: make the requirement ready on all shards, from what was exported."""
    gears.requirements.imported(b"".join(arguments))
    return replies.OK
