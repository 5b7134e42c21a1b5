"""Backends by name. A backend's library is imported when a model first needs it, never before.

Adding one: a file beside this one with a `Backend`, and its line in `_BACKENDS`.
"""

from __future__ import annotations

from importlib import import_module, metadata
from threading import Lock

from keymiss.backends.base import Array, Backend, Device, Model
from keymiss.errors import BackendMissing

__all__ = ["Array", "Backend", "Backends", "Device", "Model", "backend_class"]

_BACKENDS = {
    "TORCH": ("keymiss.backends.torch", "TorchBackend"),
    "ONNX": ("keymiss.backends.onnx", "OnnxBackend"),
    "TF": ("keymiss.backends.tensorflow", "TensorFlowBackend"),
    "TFLITE": ("keymiss.backends.tflite", "TfliteBackend"),
    "OPENVINO": ("keymiss.backends.openvino", "OpenVinoBackend"),
}


def backend_class(name: str) -> type[Backend]:
    """The backend called `name` in AI.MODELSTORE, in any case. Imports its file but not its library.
    BackendMissing where this version has none of that name."""
    try:
        module, attribute = _BACKENDS[name.upper()]
    except KeyError:
        raise BackendMissing(
            f"Could not load backend {name}: this version has {', '.join(_BACKENDS)}"
        ) from None
    found: type[Backend] = getattr(import_module(module), attribute)
    return found


class Backends:
    """The backends of one process, each made once, with `threads` threads."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._made: dict[type[Backend], Backend] = {}
        self.versions: dict[str, str] = {}  # of the libraries that are loaded, by the name of the backend
        # Loads run on several threads, and a library is set up once. Some take seconds: a lock for each.
        self._locks = {name: Lock() for name in _BACKENDS}

    def __getitem__(self, name: str) -> Backend:
        """The backend called `name`. BackendMissing where it or its library is not there."""
        kind = backend_class(name)
        with self._locks[kind.name]:
            if kind not in self._made:
                self._made[kind] = self._make(kind)
                self.versions[kind.name] = _version(kind.library)
            return self._made[kind]

    def _make(self, kind: type[Backend]) -> Backend:
        try:
            return kind(self.threads)
        except ImportError as error:
            raise BackendMissing(
                f"Could not load backend {kind.name}: the models worker has no {kind.library} ({error}); "
                f"install it with: {kind.install}"
            ) from None


def _version(library: str) -> str:
    """Of a library that has been imported."""
    told = getattr(import_module(library), "__version__", None)
    return str(told or metadata.version(library))
