"""The models of this process: each loaded once, whoever asks for it.

A model is known by its digest, backend, device and names; keys, shards and hash tags that hold the same one
share it. An owner (a channel) holds a model from its first LOAD or RUN until its UNLOAD or its end. What
nobody holds is kept for a while, least recently used first to go, so that storing it again costs nothing.

Where the weights may take so much memory only (`budget`), models that are held are put out, too (see
residency): one whose weights are mapped stays loaded and gives its pages back, which come again from the page
cache as a pass reads them; any other is dropped, and loaded again when it is asked for.

Everything here runs on the loop's thread, except the loading itself.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from keymiss.backends import Backends, Device, Model
from keymiss.errors import BackendError
from keymiss.inference.residency import Residency

KEPT_MODELS = 8  # loaded models that nobody holds
KEPT_BYTES = 1 << 30  # and their weights together, where they are not mapped
_LOADERS = 2  # one slow load does not hold up the next
_LONGEST_WAIT_S = 10.0  # of a load for room, which then takes more than the budget
_MAPPING_BYTES_PER_S = 10e9  # how fast pages of the page cache are mapped again, in forward passes


class Identity(NamedTuple):
    """What makes two models the same one."""

    digest: str
    backend: str
    device: Device
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]  # both empty where the backend knows them by itself


class Counts(NamedTuple):
    """What happened so far: for the budget's sake, and how many loads took how long together."""

    put_out: int = 0
    brought_back: int = 0
    loads: int = 0
    loads_s: float = 0.0


class Store:
    """Loaded models by identity. `on_put_out` is called when one was put out: who kept it asks again."""

    def __init__(self, backends: Backends, on_put_out: Callable[[], object] = lambda: None) -> None:
        self.backends = backends
        self.budget = 0  # bytes for the weights of all models; 0: as many as there are
        self.counts = Counts()
        self._on_put_out = on_put_out
        self._resident = Residency[Identity]()
        self._dropped: set[Identity] = set()  # for the budget's sake, and held still
        self._room = asyncio.Lock()  # one load after the other where there is a budget
        self._models: OrderedDict[Identity, Model] = OrderedDict()  # least recently used first
        self._loading: dict[Identity, asyncio.Future[Model]] = {}
        self._owners: dict[Identity, set[Hashable]] = {}
        self._threads = ThreadPoolExecutor(_LOADERS, thread_name_prefix="load")

    @property
    def models(self) -> dict[Identity, Model]:
        """Those that are loaded."""
        return dict(self._models)

    @property
    def known(self) -> set[Identity]:
        """Those that are loaded, or held and about to be."""
        return self._models.keys() | self._owners.keys()

    @property
    def resident_bytes(self) -> int:
        """Of the weights that are in memory."""
        return self._resident.bytes

    def get(self, identity: Identity, owner: Hashable) -> Model | None:
        """The model, held for `owner` from now on, if it is loaded."""
        model = self._models.get(identity)
        if model is not None:
            self._models.move_to_end(identity)
            self._owners.setdefault(identity, set()).add(owner)
            if self.budget:
                self._resident.use(identity, monotonic())
            if identity not in self._resident:
                self._count_return()
                self._enter(identity, model, 0.0)
            elif self._resident.resize(identity, model.resident_bytes, monotonic()):
                self.make_room()
            model.may_grow = self.budget == 0 or self._resident.bytes + model.weight_bytes <= self.budget
        return model

    def _count_return(self) -> None:
        self.counts = self.counts._replace(brought_back=self.counts.brought_back + 1)

    def _enter(self, identity: Identity, model: Model, load_s: float) -> None:
        """It is in memory from now on; others make room."""
        cost_s = model.weight_bytes / _MAPPING_BYTES_PER_S if model.can_let_go else load_s
        self._resident.enter(identity, model.resident_bytes, cost_s, monotonic())
        self.make_room()

    def make_room(self, needed: int = 0) -> None:
        """Put models out until `needed` bytes more are within the budget, as far as they may go now."""
        if not self.budget:
            return
        for identity in self._resident.put_out(max(self.budget - needed, 0), monotonic()):
            self.counts = self.counts._replace(put_out=self.counts.put_out + 1)
            if self._models[identity].can_let_go:
                self._models[identity].let_go()
            else:
                del self._models[identity]
                if identity in self._owners:
                    self._dropped.add(identity)
            self._on_put_out()

    async def load(self, identity: Identity, path: Path, owner: Hashable) -> Model:
        """The model, loaded from `path` if it is not yet, held for `owner`. BackendError where it cannot be
        loaded. Those who ask for it at the same time wait for one load."""
        model = self.get(identity, owner)
        if model is not None:
            return model
        self._owners.setdefault(identity, set()).add(owner)
        loading = self._loading.get(identity)
        if loading is None:
            loading = asyncio.ensure_future(self._load_within_budget(identity, path))
            self._loading[identity] = loading
            loading.add_done_callback(lambda future: self._loaded(identity, future))
        return await asyncio.shield(loading)  # one who gives up does not take it from the others

    async def _load_within_budget(self, identity: Identity, path: Path) -> Model:
        loop = asyncio.get_running_loop()
        if not self.budget:
            model, load_s = await loop.run_in_executor(self._threads, self._load, identity, path)
        else:
            async with self._room:
                await self._wait_for_room(path)
                model, load_s = await loop.run_in_executor(self._threads, self._load, identity, path)
        counts = self.counts
        self.counts = counts._replace(loads=counts.loads + 1, loads_s=counts.loads_s + load_s)
        if identity in self._dropped:
            self._dropped.discard(identity)
            self._count_return()
        self._models[identity] = model
        self._resident.use(identity, monotonic())
        self._enter(identity, model, load_s)
        return model

    async def _wait_for_room(self, path: Path) -> None:
        """Put out what has to go before the model in this file is loaded, and wait for those that were
        brought in a moment ago. One that is larger than the budget has it for itself."""
        try:
            needed = path.stat().st_size  # what the weights take about
        except OSError:
            return  # which the loading will tell
        self.make_room(needed)
        until_s = monotonic() + _LONGEST_WAIT_S
        while self._resident.bytes and self._resident.bytes + needed > self.budget > 0:
            if monotonic() > until_s:
                return
            await asyncio.sleep(self._resident.wait_s(monotonic()))
            self.make_room(needed)

    def _load(self, identity: Identity, path: Path) -> tuple[Model, float]:
        """The model and how many seconds it took. On a loader's thread."""
        try:
            backend = self.backends[identity.backend]
            began_s = monotonic()  # not the import of its library, which is there from now on
            model = backend.load(path, identity.device, identity.inputs, identity.outputs)
            return model, monotonic() - began_s
        except BackendError:
            raise
        except Exception as error:  # a library's own exception, or memory that is not there
            raise BackendError(f"the model could not be loaded: {type(error).__name__}: {error}") from error

    def _loaded(self, identity: Identity, future: asyncio.Future[Model]) -> None:
        del self._loading[identity]
        if future.cancelled() or future.exception() is not None:
            self._owners.pop(identity, None)
            self._dropped.discard(identity)
            self._resident.forget(identity)
        else:
            self._evict()

    def release(self, digest: str, owner: Hashable) -> None:
        """The owner's last key with that digest is gone. A job that has the model keeps it until its end."""
        self._disown(owner, [identity for identity in self._owners if identity.digest == digest])

    def forget(self, owner: Hashable) -> None:
        """The owner is gone."""
        self._disown(owner, list(self._owners))

    def _disown(self, owner: Hashable, identities: list[Identity]) -> None:
        for identity in identities:
            owners = self._owners[identity]
            owners.discard(owner)
            if not owners:
                del self._owners[identity]
                if identity in self._dropped:
                    self._dropped.discard(identity)
                    self._resident.forget(identity)
        self._evict()

    def _evict(self) -> None:
        idle = [identity for identity in self._models if identity not in self._owners]
        size = sum(_own_bytes(self._models[identity]) for identity in idle)
        while len(idle) > KEPT_MODELS or size > KEPT_BYTES:
            identity = idle.pop(0)
            self._resident.forget(identity)
            size -= _own_bytes(self._models.pop(identity))


def _own_bytes(model: Model) -> int:
    """Memory that goes when the model goes; mapped weights are the page cache's."""
    return model.resident_bytes - model.mapped_bytes
