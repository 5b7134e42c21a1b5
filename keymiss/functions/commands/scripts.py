"""RG.PYEXECUTE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keymiss.errors import GearsError
from keymiss.functions.job import FunctionJob
from keymiss.functions.scripts import Options, Script

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

BYTE_ORDER_MARK = "\ufeff"  # editors of Windows begin files with it
NO_BLOCKING = "Can not run gears inside a multi exec, lua, or when blocking is not allowed"


def pyexecute(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes | None:
    """RG.PYEXECUTE script [UNBLOCKING] [ID id] [DESCRIPTION text] [UPGRADE] [REPLACE_WITH id]
    [REQUIREMENTS name ...]

    [results, errors] of its one run; with UNBLOCKING the id of the execution; OK where it runs nothing.
    """
    if job.in_multi or job.sync:
        raise GearsError(NO_BLOCKING)
    try:
        source, *rest = [argument.decode() for argument in arguments]
    except UnicodeDecodeError as error:
        raise GearsError(f"ERR the script and its arguments must be UTF-8: {error}") from None
    Script(gears, job, source.removeprefix(BYTE_ORDER_MARK), Options.parse(rest)).start()
    return None
