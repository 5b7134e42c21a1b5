"""RG.CONFIGGET and RG.CONFIGSET."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keymiss.functions import replies
from keymiss.functions.commands.arguments import as_str
from keymiss.functions.job import FunctionJob

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears


def get(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.CONFIGGET name [name ...]: the values, an error in the place of each unknown one."""
    return replies.array([replies.to_resp(gears.config.get(name)) for name in map(as_str, arguments)])


def set_(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.CONFIGSET name value [name value ...]: a status or an error for each."""
    texts = list(map(as_str, arguments))
    answers = [gears.config.set(name, value) for name, value in zip(texts[::2], texts[1::2], strict=False)]
    if len(texts) % 2:
        answers.append(f"-(error) Value was not given to {texts[-1]}")
    return replies.array([replies.to_resp(answer) for answer in answers])
