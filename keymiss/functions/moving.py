"""Slots on their way from one shard to another: what the server says of their keys, in clear words.

The shard that a slot leaves serves the keys that are still there. The one that it goes to serves clients that
the first one sent there (ASK), and nobody else: to the server a function is no such client, whoever fired it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keymiss.errors import GearsError
from keymiss.functions.nodes import parse_nodes
from keymiss.functions.records import NOT_LOCAL
from keymiss.functions.replies import argument
from keymiss.hashtags import slot_of

if TYPE_CHECKING:
    from keymiss.functions.shard import Shard


def moving_slot(shard: Shard, arguments: Sequence[Any]) -> int | None:
    """The first slot of these arguments that moves from or to this shard; None where none does."""
    nodes = parse_nodes(shard.execute("CLUSTER", "NODES"))
    moving = next(node.moving for node in nodes if node.myself)
    return next((slot for one in arguments if (slot := slot_of(argument(one))) in moving), None)


def explained(shard: Shard, error: GearsError, arguments: Sequence[Any]) -> GearsError:
    """The error of a command with these arguments: it says so where it is for a slot that moves."""
    if NOT_LOCAL not in str(error):
        return error
    slot = moving_slot(shard, arguments)
    if slot is None:
        return error
    return GearsError(
        f"{error}: slot {slot} is on its way from one shard to another, try again when it has moved"
    )
