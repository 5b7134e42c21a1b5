"""The question-answering pipeline of transformers behind a queue, as its documentation shows for web servers:
one loop takes what waits, at most MAX_BATCH questions, and gives it to the pipeline as a batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import torch
import transformers
import uvicorn
from arguments import parse
from reading import MAX_ANSWER_TOKENS, OVERLAP_TOKENS, longest_input
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tokenizers import Tokenizer

MAX_BATCH = 16
BATCH_TIMEOUT_S = 0.005

Waiting = tuple[dict[str, str], "asyncio.Future[str]"]


def pipeline(model: str, dtype: str, longest: int) -> Any:
    """Told to answer as the other servers do: spans as long, windows alike, nothing where there is none."""
    return transformers.pipeline(
        "question-answering",
        model=model,
        dtype=getattr(torch, dtype),
        max_seq_len=longest,
        doc_stride=OVERLAP_TOKENS,
        max_answer_len=MAX_ANSWER_TOKENS,
        handle_impossible_answer=True,
        align_to_words=False,
    )


async def answer(request: Request) -> JSONResponse:
    answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    await request.app.state.queue.put((await request.json(), answered))
    return JSONResponse({"answer": await answered})


async def serve(queue: asyncio.Queue[Waiting], pipe: Any) -> None:
    while True:
        batch = [await queue.get()]
        while len(batch) < MAX_BATCH:
            try:
                batch.append(await asyncio.wait_for(queue.get(), BATCH_TIMEOUT_S))
            except asyncio.TimeoutError:
                break
        asked = [question for question, _ in batch]
        found = await asyncio.to_thread(pipe, asked, batch_size=len(batch))
        for (_, answered), one in zip(batch, found if isinstance(found, list) else [found], strict=True):
            answered.set_result(one["answer"])


if __name__ == "__main__":
    options = parse()
    torch.set_num_threads(options.threads)
    pipe = pipeline(options.model, options.dtype, longest_input(Tokenizer.from_file(options.tokenizer)))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.queue = asyncio.Queue()
        serving = asyncio.create_task(serve(app.state.queue, pipe))
        yield
        serving.cancel()

    app = Starlette(routes=[Route("/", answer, methods=["POST"])], lifespan=lifespan)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")
