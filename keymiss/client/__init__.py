"""Talking to a running Keymiss from outside: AI.* with numpy arrays, functions, questions, where it is, which
shards it has.

    from keymiss.client import AI, QA, AsyncAI, AsyncGears, AsyncQA, Gears

    ai = AI(redis.Redis())                  # or AI(redis.RedisCluster(...))
    ai = AsyncAI(redis.asyncio.Redis())     # or AsyncAI(redis.asyncio.RedisCluster(...))
    gears = Gears(redis.Redis())            # and so on
    qa = QA(redis.Redis())

docs/client.md has examples.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .asking import Answers, ParagraphAnswer
from .registrations import Registration, read_registrations
from .shards import Shard, connect, find_shards, read_shards, shard_of, text_of
from .where import STATE_FILE, Address, find_servers

if TYPE_CHECKING:
    from .ai import AI, AsyncAI
    from .builders import Results, Session
    from .dag import Dag
    from .gears import AsyncBuilder, AsyncExecution, AsyncGears, Builder, Execution, Gears
    from .pipelines import AsyncPipeline, Pipeline
    from .qa import QA, AsyncQA

__all__ = [
    "AI",
    "QA",
    "STATE_FILE",
    "Address",
    "Answers",
    "AsyncAI",
    "AsyncBuilder",
    "AsyncExecution",
    "AsyncGears",
    "AsyncPipeline",
    "AsyncQA",
    "Builder",
    "Dag",
    "Execution",
    "Gears",
    "ParagraphAnswer",
    "Pipeline",
    "Registration",
    "Results",
    "Session",
    "Shard",
    "connect",
    "find_servers",
    "find_shards",
    "read_registrations",
    "read_shards",
    "shard_of",
    "text_of",
]

_NEED_NUMPY = {
    "AI": "ai",
    "AsyncAI": "ai",
    "AsyncBuilder": "gears",
    "AsyncExecution": "gears",
    "AsyncGears": "gears",
    "AsyncPipeline": "pipelines",
    "AsyncQA": "qa",
    "Builder": "gears",
    "Dag": "dag",
    "Execution": "gears",
    "Gears": "gears",
    "Pipeline": "pipelines",
    "QA": "qa",
    "Results": "builders",
    "Session": "builders",
}


if not TYPE_CHECKING:  # for which a name that is not there would be an Any

    def __getattr__(name: str) -> Any:
        """The clients are imported when they are asked for: the command line starts without numpy."""
        if name not in _NEED_NUMPY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f".{_NEED_NUMPY[name]}", __name__), name)
