"""Agreement: the shards of a cluster end up with the same registrations, whoever was away when they changed.

A change is told to all masters when it is made (`deploy.py`). For a master that joins later, or did not
answer then, each shard looks at the cluster once a second and shows a digest of its ledger to masters that it
has not met, and now and then to one of the others. A shard that is shown another digest than its own fetches
what is newer, and where it knows newer things itself, shows its own digest in turn.

A registration that a shard cannot take (a module is missing there) is tried again later and later.

The look at the cluster also finds slots that came to this shard, with streams in them perhaps, and that this
node was given another id.
"""

from __future__ import annotations

from itertools import count
from time import monotonic
from typing import TYPE_CHECKING

from keymiss.errors import ChannelError, KeymissError
from keymiss.functions.deployed import Change, Deployed
from keymiss.functions.ledger import later
from keymiss.functions.nodes import Node

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

LOOK_S = 1.0
_LOOKS_A_ROUND = 2  # every second look, one of the masters that are known is shown the digest too
_BLOBS_A_QUESTION = 20
_FIRST_RETRY_S, _LAST_RETRY_S = 5.0, 600.0


class Agreement:
    """What one shard does for it. One look at a time, in the background."""

    def __init__(self, gears: Gears) -> None:
        self._gears = gears
        self._looks = count()
        self._met: set[str] = set()
        self._slots: set[tuple[int, int]] | None = None  # of this shard, at the last look
        self._comparing: set[str] = set()
        # By id: the change, the time before which it is not tried again, and the pause that led to it.
        self._refused: dict[str, tuple[Change, float, float]] = {}
        gears.peers.handle("ledger", self._on_ledger)
        gears.peers.answer("ledger.changes", gears.ledger.changes)
        gears.peers.answer("ledger.blobs", gears.deployer.blobs)

        gears.shard.loop.call_later(LOOK_S, self._next_look)

    def _next_look(self) -> None:
        shard = self._gears.shard
        if not shard.hello.pid or self._gears.registrations.restoring:
            shard.loop.call_later(LOOK_S, self._next_look)
            return
        if not shard.is_cluster or shard.channel.closed:
            return

        def look() -> None:
            try:
                self.look()
            except KeymissError as error:
                shard.log(f"the cluster cannot be looked at: {error}", "warning")
            finally:
                shard.call_soon(shard.loop.call_later, LOOK_S, self._next_look)

        self._gears.in_background(look)

    def look(self) -> None:
        """Meet those that are new, and one of the others every now and then. In the background."""
        nodes = self._gears.peers.nodes()
        me = next(node for node in nodes if node.myself)
        if me.id != self._gears.shard.node:
            reason = ChannelError("the node has another id now")
            self._gears.shard.call_soon(self._gears.shard.channel.end, reason)
            return
        self._follow_slots(me)
        masters = [node.id for node in nodes if node.master and node.connected and not node.failed]
        others = sorted(node for node in masters if node != me.id)
        new = [node for node in others if node not in self._met]
        self._met = set(others)
        digest = self._gears.ledger.digest()
        if not me.master or not digest:  # a replica agrees with its master; one that knows nothing is shown
            return
        round_, rest = divmod(next(self._looks), _LOOKS_A_ROUND)
        if others and not rest and not new:
            new = [others[round_ % len(others)]]
        for node in new:
            self._gears.peers.send(node, "ledger", digest, True)

    def _follow_slots(self, me: Node) -> None:
        slots = set(me.slots)
        if self._slots is not None and not slots <= self._slots:
            self._gears.deployer.read_streams()
        self._slots = slots

    def _on_ledger(self, node: str, digest: bytes, show_back: bool) -> None:
        """A shard shows its ledger. The loop's thread."""
        if digest == self._gears.ledger.digest() or node in self._comparing or self._gears.shard.is_replica:
            return
        self._comparing.add(node)

        def compare() -> None:
            try:
                self._compare(node, show_back)
            except KeymissError as error:
                self._gears.shard.log(f"registrations were not compared: {error}", "warning")
            finally:
                self._comparing.discard(node)

        self._gears.in_background(compare)

    def _compare(self, node: str, show_back: bool) -> None:
        peers, ledger = self._gears.peers, self._gears.ledger
        theirs: dict[str, Change] = peers.ask_one(node, "ledger.changes")
        mine = ledger.changes()
        wanted = [name for name in later(theirs, mine) if not self._is_refused(name, theirs[name])]
        for at in range(0, len(wanted), _BLOBS_A_QUESTION):
            for blob in peers.ask_one(node, "ledger.blobs", wanted[at : at + _BLOBS_A_QUESTION]):
                self._adopt(node, blob)
        if show_back and later(mine, theirs):
            peers.send(node, "ledger", ledger.digest(), False)

    def _adopt(self, node: str, blob: bytes) -> None:
        deployed = Deployed.read(blob)
        try:
            self._gears.deployer.adopt([blob])
            self._refused.pop(deployed.name, None)
        except KeymissError as error:
            known, _, pause_s = self._refused.get(deployed.name, (None, 0.0, 0.0))
            pause_s = min(2 * pause_s, _LAST_RETRY_S) if known == deployed.changed else _FIRST_RETRY_S
            self._refused[deployed.name] = (deployed.changed, monotonic() + pause_s, pause_s)
            self._gears.shard.log(
                f"registration {deployed.name}, which shard {node} has, cannot be taken over: {error}. "
                f"It is tried again in {pause_s:g} s",
                "warning",
            )

    def _is_refused(self, name: str, changed: Change) -> bool:
        refused = self._refused.get(name)
        return refused is not None and refused[0] == changed and monotonic() < refused[1]
