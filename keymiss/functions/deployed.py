"""A registration as it travels between shards and as the server keeps it: its blob.

What is needed to restore it can be read without loading its functions. A registration that was removed leaves
a blob too, without functions: a shard that was away learns from it that it is gone.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, fields

from keymiss.errors import GearsError

_FORMAT = 2

Change = tuple[int, str]  # when, in ms (never less than a change known before), and on which shard


@dataclass(frozen=True, slots=True)
class Deployed:
    """`changed` orders the changes of one id in the whole cluster: the last one counts."""

    name: str
    changed: Change
    gone: bool = False
    session: str = ""
    description: str | None = None
    requirements: tuple[str, ...] = ()
    deployment: str = ""
    mode: str = "async"
    paused: bool = False
    functions: bytes = b""  # blobs.dump of the Registering

    def blob(self) -> bytes:
        """All of it as bytes."""
        return pickle.dumps((_FORMAT, *(getattr(self, field.name) for field in fields(self))))

    @staticmethod
    def read(blob: bytes) -> Deployed:
        """What `blob` gave. GearsError where it is damaged or another version's."""
        try:
            version, *values = pickle.loads(blob)
            if version != _FORMAT:
                raise GearsError(f"it was saved by another version of Keymiss (format {version})")
            return Deployed(*values)
        except (pickle.UnpicklingError, TypeError, ValueError, EOFError, AttributeError) as error:
            raise GearsError(f"its blob is damaged: {error}") from None

    def differs_by_pause(self, other: Deployed) -> bool:
        """Both are the same functions of the same deployment: at most one of them is paused."""
        return (self.gone, self.deployment, self.functions) == (
            other.gone,
            other.deployment,
            other.functions,
        )
