"""RG.CONFIGGET and RG.CONFIGSET: a few numbers that executions obey, and a dictionary for scripts.

Names are case-sensitive, as they always were. What is set lasts until the server ends: the module keeps it
for the next worker.
"""

from __future__ import annotations

import json

from keymiss.functions.shard import Shard

_CHANGEABLE = {
    "MaxExecutions": 1000,  # finished executions that are kept
    "MaxExecutionsPerRegistration": 100,
    "ProfileExecutions": 0,
    "PythonAttemptTraceback": 1,
    "ExecutionMaxIdleTime": 5000,  # ms without a sign of life of another shard
    "PythonInstallReqMaxIdleTime": 30000,  # ms for installing requirements
}
_POSITIVE = ("ExecutionMaxIdleTime",)
_IN_DICTIONARY = ("PythonAttemptTraceback",)  # kept for scripts, too, and answered as if it were only that
_SAVED = "+OK - value was saved in extra config dictionary"
MAX_KEPT_BYTES = 1 << 20  # of all that is set; the module takes twice that


class Config:
    """The configuration of one shard's functions."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._numbers = dict(_CHANGEABLE)
        # Plain attributes: every run looks at them.
        self.max_executions_per_registration = 0
        self.profiles = False
        self._apply()

    def _apply(self) -> None:
        self.max_executions_per_registration = max(0, self._numbers["MaxExecutionsPerRegistration"])
        self.profiles = self._numbers["ProfileExecutions"] != 0

    @property
    def max_executions(self) -> int:
        """Finished executions that are kept; never negative."""
        return max(0, self._numbers["MaxExecutions"])

    @property
    def max_idle_s(self) -> float:
        """How long another shard may be silent during an execution."""
        return max(0.1, self._numbers["ExecutionMaxIdleTime"] / 1000)

    @property
    def install_s(self) -> float:
        """How long an installation of requirements may take."""
        return max(1.0, self._numbers["PythonInstallReqMaxIdleTime"] / 1000)

    @property
    def tracebacks(self) -> bool:
        """Errors are shown with their traceback."""
        return self._numbers["PythonAttemptTraceback"] != 0

    def get(self, name: str) -> int | str | list[str]:
        """A value, or an error as a status text that starts with a minus."""
        if name in self._numbers:
            return self._numbers[name]
        if name in self._shard.config:
            return self._shard.config[name]
        fixed = self._fixed()
        return fixed.get(name, f"-(error) Unsupported config parameter: {name}")

    def set(self, name: str, value: str) -> str:
        """Change a value; the status text, or an error as text that starts with a minus."""
        if name in self._fixed():
            return f"-(error) Config value {name} not modifiable at runtime"
        numbers, texts = dict(self._numbers), dict(self._shard.config)
        in_dictionary = name not in numbers or name in _IN_DICTIONARY
        if name in numbers:
            try:
                numbers[name] = int(value)
            except ValueError:
                return f"-(error) Failed parsing value {value!r} of {name}: a number is expected"
            if name in _POSITIVE and numbers[name] <= 0:
                return f"-(error) {name} must be greater than 0"
        if in_dictionary:
            texts[name] = value
        kept = json.dumps([numbers, texts], ensure_ascii=False).encode()
        if len(kept) > MAX_KEPT_BYTES:
            return f"-(error) {name} was not set: all that is set may have {MAX_KEPT_BYTES} bytes"
        self._numbers, self._shard.config = numbers, texts
        self._apply()
        self._shard.channel.send(b"KEEP", kept)
        return _SAVED if in_dictionary else "+OK"

    def restore(self, kept: bytes) -> None:
        """What the last worker had the module keep. ValueError where it is nothing that `set` gave."""
        numbers, texts = json.loads(kept)
        self._numbers |= {name: int(numbers[name]) for name in self._numbers if name in numbers}
        self._shard.config = {str(name): str(value) for name, value in texts.items()}
        self._apply()

    def _fixed(self) -> dict[str, int | str | list[str]]:
        return {
            "ExecutionThreads": self._shard.pool.size,
            "CreateVenv": 0,
            "DownloadDeps": 0,
            "DependenciesUrl": "",
            "PythonInstallationDir": self._shard.hello.dir,
            "Plugin": ["keymiss.functions"],
        }
