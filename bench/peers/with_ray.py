"""Ray Serve: one replica, its questions gathered by @serve.batch, at most MAX_BATCH at once."""

from __future__ import annotations

import argparse
import signal
from typing import Any

import ray
from arguments import parse
from eager import reader
from ray import serve

MAX_BATCH = 16
BATCH_TIMEOUT_S = 0.005
MAX_WAITING = 256
OBJECT_STORE_BYTES = 100 << 20  # questions do not go through it


class QuestionAnswering:
    def __init__(self, options: argparse.Namespace) -> None:
        self.reader = reader(options.model, options.tokenizer, options.threads, options.dtype)

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_TIMEOUT_S)  # type: ignore[untyped-decorator]
    async def answer(self, asked: list[dict[str, str]]) -> list[str]:
        found: list[str] = self.reader.answers(asked)
        return found

    async def __call__(self, request: Any) -> dict[str, str]:
        return {"answer": await self.answer(await request.json())}


if __name__ == "__main__":
    options = parse()
    ray.init(
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=options.scratch,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": str(options.threads)}},  # Ray sets 1 by itself
    )
    serve.start(http_options={"host": "127.0.0.1", "port": options.port})
    deployment = serve.deployment(max_ongoing_requests=MAX_WAITING)(QuestionAnswering)
    serve.run(deployment.bind(options), name="qa", route_prefix="/")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
