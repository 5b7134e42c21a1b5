"""Requirements of sessions: Python packages that scripts name, installed where the worker lacks them.

1. A *set* of requirements has an environment of its own (`environments.py`), made of wheels. What the
   worker's own environment satisfies is not installed again; a set that it satisfies whole has none.
2. The wheels of a set are kept by the server, in a record that looks to it like a registration: in the RDB,
   in the AOF, on replicas. They are shipped to all shards before a script that requires them runs. So a shard
   that loads a function has the wheels already, or asks another shard for them, and asks an index last.
3. Scripts of one set share its environment. FORCE_REINSTALL_REQUIREMENTS makes a new version of the set, for
   this script and those after it.
4. A set is forgotten when the last session with registrations that used it is gone; its folder stays a while.
"""

from __future__ import annotations

import pickle
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from sysconfig import get_platform
from time import monotonic
from typing import TYPE_CHECKING, Any

from keymiss.errors import GearsError
from keymiss.functions.environments import Environment
from keymiss.functions.installing import missing
from keymiss.functions.parcels import pack, unpack
from keymiss.functions.wheelhouse import Wheelhouse, digest

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

RECORD = "requirements-"  # what the ids of records start with
MAX_RECORD_BYTES = 256 << 20  # a record is one argument of a command: larger sets are not kept by the server
CHUNK_BYTES = 256 << 10  # of a wheel in one message: the cluster's bus has to carry pings beside it
SWEEP_S = 1.0
_FORMAT = 1

Key = tuple[str, ...]


@dataclass(slots=True)
class _Set:
    """One set as it is on this shard. `house` is None where the worker itself satisfies it."""

    key: Key
    version: int = 1
    house: Wheelhouse | None = None
    environment: Environment | None = None
    ready: bool = False  # False: the server has its wheels, nobody has required it here
    used: bool = False  # by a session with registrations

    def shown(self) -> list[list[Any]]:
        wheels = list(self.house.wheels()) if self.house is not None else []
        installed = "yes" if self.ready else "no"
        return [
            [
                *("GearReqVersion", self.version, "Name", name),
                *("IsDownloaded", "yes", "IsInstalled", installed),
                *("CompiledOs", get_platform(), "Wheels", wheels),
            ]
            for name in self.key
        ]


class Requirements:
    """The sets of requirements of this shard. `provide` may take long: for threads of the pool."""

    def __init__(self, gears: Gears) -> None:
        self._gears = gears
        self._root = Path(gears.shard.hello.dir) / "functions"
        self._sets: dict[Key, _Set] = {}
        self._locks: dict[Key, threading.Lock] = {}
        self._claims: Counter[Key] = Counter()
        self._shipments = count(1)
        self._sweeping = False
        answers: dict[str, Callable[..., Any]] = {
            "lacks": self._lacks,
            "piece": self._take_piece,
            "install": self._install_shipped,
            "offer": self._offer,
            "read": self._read,
        }
        for name, answer in answers.items():
            gears.peers.answer(f"requirements.{name}", answer)

    def provide(self, requirements: Sequence[str], anew: bool = False) -> Environment | None:
        """The environment of these on this shard, installed where it is not there yet, or `anew`.

        None: they need none. GearsError, with pip's words, where installing fails or takes too long.
        """
        key = _key(requirements)
        if not key:
            return None
        with self._lock(key):
            known = self._sets.get(key)
            if known is not None and known.ready and not anew:
                return known.environment
            if known is None or anew:
                known = _Set(key, 1 if known is None else known.version + 1)
            self._prepare(known, anew)
            self._put(known)
            return known.environment

    def provide_everywhere(self, requirements: Sequence[str], anew: bool = False) -> Environment | None:
        """As `provide`, on all shards."""
        environment = self.provide(requirements, anew)
        if requirements and self._gears.shard.is_cluster:
            self._ship(self._sets[_key(requirements)])
        return environment

    @contextmanager
    def claimed(self, requirements: Sequence[str]) -> Iterator[None]:
        """Inside, the set is not forgotten."""
        key = _key(requirements)
        self._claims[key] += 1
        try:
            yield
        finally:
            self._claims[key] -= 1
            self.sweep_soon()

    def shown(self) -> list[list[Any]]:
        """As RG.PYDUMPREQS shows them, by name."""
        entries = [entry for one in list(self._sets.values()) for entry in one.shown()]
        return sorted(entries, key=lambda entry: str(entry[3]))

    # Carried from server to server

    def exported(self, name: str) -> tuple[list[Any], bytes]:
        """A requirement as `shown`, and a file that `imported` takes. GearsError where it is not there."""
        having = [one for one in list(self._sets.values()) if name in one.key and one.ready]
        if not having:
            raise GearsError(f"ERR there is no requirement {name}")
        one = min(having, key=lambda one: len(one.key))
        house = one.house
        wheels = {} if house is None else {wheel: house.read(wheel) for wheel in house.wheels()}
        return one.shown()[one.key.index(name)], pack(one.key, wheels)

    def imported(self, data: bytes) -> None:
        """Make what `exported` gave ready, on all shards. GearsError where it is damaged or does not fit."""
        requirements, wheels = unpack(data)
        house = Wheelhouse(self._root, _key(requirements), 1)
        if wheels and not house.has_wheels:
            house.take(wheels)
        self.provide_everywhere(requirements)

    # Making a set ready

    def _prepare(self, one: _Set, anew: bool = False) -> None:
        """Its packages, from what is nearest: this disk, another shard, pip."""
        wanted = missing(one.key)
        if not wanted:
            one.ready = True
            return
        deadline = monotonic() + self._gears.config.install_s
        kept = one.house is not None
        house = one.house or self._house(one, anew)
        if not house.has_wheels and not anew:
            house = self._fetched(one) or house
        if house.has_wheels and not house.has_packages:
            try:
                house.unpack(deadline - monotonic())
            except GearsError as error:  # wheels for another Python, say
                self._gears.shard.log(f"{error}; asking an index", "warning")
                house.forget()
                kept = False
        if not house.has_packages:
            house.make(wanted, deadline - monotonic(), anew)
            house.unpack(deadline - monotonic())
        house.touch()
        one.house, one.environment, one.ready = house, Environment(house.packages), True
        if not kept:
            self._keep(one)

    def _house(self, one: _Set, anew: bool) -> Wheelhouse:
        house = Wheelhouse(self._root, one.key, one.version)
        while anew and house.has_packages:  # a version that was forgotten
            one.version += 1
            house = Wheelhouse(self._root, one.key, one.version)
        return house

    def _put(self, one: _Set) -> None:
        """It takes the place of its older version."""
        old = self._sets.get(one.key)
        self._sets[one.key] = one
        if old is not None and old is not one and old.environment is not None:
            old.environment.remove()
        if one.environment is not None:
            one.environment.add()

    def _lock(self, key: Key) -> threading.Lock:
        return self._locks.setdefault(key, threading.Lock())

    # The record that the server keeps

    def _keep(self, one: _Set) -> None:
        house = one.house
        assert house is not None
        if sum(house.wheels().values()) > MAX_RECORD_BYTES:
            self._gears.shard.log(
                f"the wheels of {' '.join(one.key)} are too large for the server to keep: a shard that "
                "lacks them installs them itself"
            )
            return
        record = (_FORMAT, one.key, one.version, {name: house.read(name) for name in house.wheels()})
        try:
            self._gears.shard.hook(_record_id(one.key), pickle.dumps(record), kind="none", mode="async")
        except GearsError as error:  # a replica: its master keeps them
            self._gears.shard.log(f"the wheels of {' '.join(one.key)} are not kept here: {error}", "verbose")

    def restore(self, name: str, blob: bytes) -> None:
        """REGISTRATION of a record: its wheels are there from now on. The loop's thread."""
        try:
            format_, key, version, wheels = pickle.loads(blob)
            if format_ != _FORMAT:
                raise GearsError(f"it was saved by another version of Keymiss (format {format_})")
            house = Wheelhouse(self._root, key, version)
            if not house.has_wheels:
                house.take(wheels)
        except Exception as error:
            self._gears.shard.log(f"{name} cannot be restored: {error}", "warning")
            return
        known = self._sets.get(key)
        if known is None or known.version < version:
            self._put(_Set(key, version, house))
            self._gears.in_background(lambda: self._or_log(key))

    def _or_log(self, key: Key) -> None:
        try:
            self.provide(key)
        except GearsError as error:
            self._gears.shard.log(str(error), "warning")

    def forget(self, name: str) -> None:
        """UNREGISTRATION of a record."""
        for one in list(self._sets.values()):
            if _record_id(one.key) == name:
                self._forget(one)

    def _forget(self, one: _Set) -> None:
        if self._sets.get(one.key) is one:
            del self._sets[one.key]
        if one.environment is not None:
            one.environment.remove()

    # Sets that nobody uses any more

    def note_use(self, requirements: Sequence[str]) -> None:
        """A session with registrations has them."""
        one = self._sets.get(_key(requirements))
        if one is not None:
            one.used = True

    def sweep_soon(self) -> None:
        """Some session has come or gone. Every thread."""
        if self._sets and not self._sweeping:
            self._sweeping = True
            self._gears.shard.call_soon(self._gears.shard.loop.call_later, SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        in_use = {_key(session.requirements) for session in self._gears.sessions}
        for key, one in list(self._sets.items()):
            if one.used and key not in in_use and not self._claims[key]:
                self._forget(one)
                if one.house is not None:
                    self._gears.in_background(lambda key=key: self._unkeep(key))  # type: ignore[misc]

    def _unkeep(self, key: Key) -> None:
        try:
            self._gears.shard.unhook(_record_id(key))
        except GearsError as error:  # a replica
            self._gears.shard.log(f"the wheels of {' '.join(key)} stay: {error}", "verbose")

    # Shipping: the shard that runs the script sends, the others ask nobody

    def _ship(self, one: _Set) -> None:
        """To the shards that lack it. GearsError where one of them is not ready then."""
        answers = self._ask(one, "lacks", one.key, one.version)
        nodes = [node for node, lacks in answers.items() if lacks]
        if not nodes:
            return
        house, part = one.house, f"{self._gears.shard.node}-{next(self._shipments)}"
        for name, size in house.wheels().items() if house is not None else ():
            for offset in range(0, size, CHUNK_BYTES):
                data = house.read(name, offset, CHUNK_BYTES) if house is not None else b""
                self._ask(one, "piece", one.key, one.version, part, name, data, nodes=nodes)
        timeout_s = self._gears.config.install_s + SWEEP_S
        self._ask(one, "install", one.key, one.version, part, nodes=nodes, timeout_s=timeout_s)

    def _ask(self, one: _Set, question: str, *parts: Any, **options: Any) -> dict[str, Any]:
        answers, errors = self._gears.peers.ask(f"requirements.{question}", *parts, **options)
        if errors:
            failures = "; ".join(f"shard {node}: {error}" for node, error in errors.items())
            raise GearsError(f"Failed to install requirements {' '.join(one.key)}: {failures}")
        return answers

    def _lacks(self, key: Key, version: int) -> bool:
        known = self._sets.get(key)
        if known is None and not missing(key):
            self.provide(key)
            return False
        return known is None or not known.ready or known.version < version

    def _take_piece(self, key: Key, version: int, part: str, name: str, data: bytes) -> None:
        Wheelhouse(self._root, key, version).put(part, name, data)

    def _install_shipped(self, key: Key, version: int, part: str) -> None:
        with self._lock(key):
            known = self._sets.get(key)
            if known is not None and known.ready and known.version >= version:
                return
            house = Wheelhouse(self._root, key, version)
            house.complete(part)
            one = _Set(key, version)
            self._prepare(one)
            self._put(one)

    # Asking for wheels: a shard that loads a function which it was not sent the wheels of

    def _fetched(self, one: _Set) -> Wheelhouse | None:
        """The newest version that another shard has."""
        if not self._gears.shard.is_cluster:
            return None
        try:
            answers, _ = self._gears.peers.ask("requirements.offer", one.key)
            offers = [(offer[0], node, offer[1]) for node, offer in answers.items() if offer is not None]
            if not offers:
                return None
            version, node, wheels = max(offers)
            part = f"{node}-{next(self._shipments)}"
            house = Wheelhouse(self._root, one.key, version)
            for name, size in wheels if not house.has_wheels else ():
                for offset in range(0, size, CHUNK_BYTES):
                    where = one.key, version, name, offset
                    data = self._gears.peers.ask_one(node, "requirements.read", *where)
                    house.put(part, name, data)
            house.complete(part)
        except GearsError as error:
            self._gears.shard.log(f"wheels of {' '.join(one.key)} could not be fetched: {error}", "warning")
            return None
        one.version = version
        return house

    def _offer(self, key: Key) -> tuple[int, list[tuple[str, int]]] | None:
        known = self._sets.get(key)
        if known is None or known.house is None or not known.house.has_wheels:
            return None
        return known.version, sorted(known.house.wheels().items())

    def _read(self, key: Key, version: int, name: str, offset: int) -> bytes:
        return Wheelhouse(self._root, key, version).read(name, offset, CHUNK_BYTES)


def _key(requirements: Sequence[str]) -> Key:
    return tuple(sorted(set(requirements)))


def _record_id(key: Key) -> str:
    return RECORD + digest(key)
