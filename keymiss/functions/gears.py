"""Gears: everything that serves functions on one shard, put together. The worker calls it for each frame it
gets.

    HELLO                        greet()
    JOB COMMAND                  run(job)
    JOB MISS, EVENT, HOOKED      fire(job)
    REGISTRATION                 restore(id, blob)
    UNREGISTRATION               forget(id)
    PEER                         receive(node, payload)
    SETTING                      changed(frame)
    KEPT                         configure(blob)

All on the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable

from keymiss.channel import Frame
from keymiss.functions.agreement import Agreement
from keymiss.functions.commands import Commands
from keymiss.functions.config import Config
from keymiss.functions.context import Context
from keymiss.functions.deploy import Deployer
from keymiss.functions.executions import Executions
from keymiss.functions.figures import Figures
from keymiss.functions.ledger import Ledger
from keymiss.functions.peers import Peers
from keymiss.functions.pool import Pool
from keymiss.functions.processes import Processes
from keymiss.functions.refires import Refires
from keymiss.functions.registrations import Registrations
from keymiss.functions.requirements import RECORD, Requirements
from keymiss.functions.sessions import Sessions
from keymiss.functions.shard import Shard
from keymiss.functions.spread import Spread
from keymiss.logs import Quota

BACKGROUND_THREADS = 4


class Gears:
    """The composition root: who knows whom."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self._background = Pool(BACKGROUND_THREADS)
        self.config = Config(shard)
        self.sessions = Sessions(self)
        self.executions = Executions(self)
        self.processes = Processes(self)
        self.registrations = Registrations(self)
        self.ledger = Ledger()
        self.deployer = Deployer(self)
        self.peers = Peers(self)
        self.peers.answer("deploy", self.deployer.adopt)
        self.requirements = Requirements(self)
        self.agreement = Agreement(self)
        self.spread = Spread(self)
        self.run = Commands(self).run
        self.fire = Refires(self).fire
        self.receive = self.peers.receive
        self.figures = Figures(self)
        self.failures_told = Quota()
        self.configure = self.config.restore

    def greet(self) -> None:
        """HELLO."""
        self.figures.follow()
        self.shard.loop.call_soon(self.figures.watch)  # READY is the first frame

    def changed(self, setting: Frame) -> None:
        """SETTING, which is obeyed from now on."""
        self.processes.changed(setting)
        self.figures.follow()

    def restore(self, name: str, blob: bytes) -> None:
        """REGISTRATION: a registration that the server has, or a record of requirements."""
        (self.requirements if name.startswith(RECORD) else self.deployer).restore(name, blob)

    def forget(self, name: str) -> None:
        """UNREGISTRATION."""
        (self.requirements if name.startswith(RECORD) else self.deployer).forget(name)

    def in_background(self, function: Callable[[], object], context: Context | None = None) -> None:
        """Run what waits for the server or for other shards.

        Not in the pool, where functions of users may wait long.
        """
        self._background.submit(function, Context() if context is None else context)
