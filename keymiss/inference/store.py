"""The models of this process: each loaded once, whoever asks for it.

A model is known by its digest, backend, device and names; keys, shards and hash tags that hold the same one
share it. An owner (a channel) holds a model from its first LOAD or RUN until its UNLOAD or its end. What
nobody holds is kept for a while, least recently used first to go, so that storing it again costs nothing.

Everything here runs on the loop's thread, except the loading itself.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from keymiss.backends import Backends, Device, Model
from keymiss.errors import BackendError

KEPT_MODELS = 8  # loaded models that nobody holds
KEPT_BYTES = 1 << 30  # and their weights together, where they are not mapped
_LOADERS = 2  # one slow load does not hold up the next


class Identity(NamedTuple):
    """What makes two models the same one."""

    digest: str
    backend: str
    device: Device
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]  # both empty where the backend knows them by itself


class Store:
    """Loaded models by identity."""

    def __init__(self, backends: Backends) -> None:
        self.backends = backends
        self._models: OrderedDict[Identity, Model] = OrderedDict()  # least recently used first
        self._loading: dict[Identity, asyncio.Future[Model]] = {}
        self._owners: dict[Identity, set[Hashable]] = {}
        self._threads = ThreadPoolExecutor(_LOADERS, thread_name_prefix="load")

    @property
    def models(self) -> list[Model]:
        return list(self._models.values())

    def get(self, identity: Identity, owner: Hashable) -> Model | None:
        """The model, held for `owner` from now on, if it is loaded."""
        model = self._models.get(identity)
        if model is not None:
            self._models.move_to_end(identity)
            self._owners.setdefault(identity, set()).add(owner)
        return model

    async def load(self, identity: Identity, path: Path, owner: Hashable) -> Model:
        """The model, loaded from `path` if it is not yet, held for `owner`. BackendError where it cannot be
        loaded. Those who ask for it at the same time wait for one load."""
        model = self.get(identity, owner)
        if model is not None:
            return model
        self._owners.setdefault(identity, set()).add(owner)
        loading = self._loading.get(identity)
        if loading is None:
            loop = asyncio.get_running_loop()
            loading = loop.run_in_executor(self._threads, self._load, identity, path)
            self._loading[identity] = loading
            loading.add_done_callback(lambda future: self._loaded(identity, future))
        return await asyncio.shield(loading)  # one who gives up does not take it from the others

    def _load(self, identity: Identity, path: Path) -> Model:
        """On a loader's thread."""
        try:
            backend = self.backends[identity.backend]
            return backend.load(path, identity.device, identity.inputs, identity.outputs)
        except BackendError:
            raise
        except Exception as error:  # a library's own exception, or memory that is not there
            raise BackendError(f"the model could not be loaded: {type(error).__name__}: {error}") from error

    def _loaded(self, identity: Identity, future: asyncio.Future[Model]) -> None:
        del self._loading[identity]
        if future.exception() is None:
            self._models[identity] = future.result()
            self._evict()
        else:
            self._owners.pop(identity, None)

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
        self._evict()

    def _evict(self) -> None:
        idle = [identity for identity in self._models if identity not in self._owners]
        size = sum(_own_bytes(self._models[identity]) for identity in idle)
        while len(idle) > KEPT_MODELS or size > KEPT_BYTES:
            size -= _own_bytes(self._models.pop(idle.pop(0)))


def _own_bytes(model: Model) -> int:
    """Memory that goes when the model goes; mapped weights are the page cache's."""
    return model.weight_bytes - model.mapped_bytes
