"""Backends by name. A backend's library is imported when a model first needs it, never before.

Adding one: a file beside this one with a `Backend`, and its line in `_BACKENDS`.
"""

from __future__ import annotations

from importlib import import_module
from threading import Lock

from keymiss.backends.base import Array, Backend, Device, Model
from keymiss.errors import BackendMissing

__all__ = ["Array", "Backend", "Backends", "Device", "Model"]

_BACKENDS = {
    "TORCH": ("keymiss.backends.torch", "TorchBackend"),
    "ONNX": ("keymiss.backends.onnx", "OnnxBackend"),
}


class Backends:
    """The backends of one process, each made once, with `threads` threads."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._made: dict[str, Backend] = {}
        self._lock = Lock()  # loads run on several threads, and an import must happen once

    def __getitem__(self, name: str) -> Backend:
        """The backend called `name` in AI.MODELSTORE. BackendMissing where it or its library is not there."""
        key = name.upper()
        with self._lock:
            if key not in self._made:
                self._made[key] = self._make(key)
            return self._made[key]

    def _make(self, name: str) -> Backend:
        if name not in _BACKENDS:
            raise BackendMissing(f"Could not load backend {name}: this version has {', '.join(_BACKENDS)}")
        module, attribute = _BACKENDS[name]
        backend: type[Backend] = getattr(import_module(module), attribute)
        try:
            return backend(self.threads)
        except ImportError as error:
            raise BackendMissing(
                f"Could not load backend {name}: the models worker has no {backend.library} ({error}); "
                f"install it with: {backend.install}"
            ) from None
