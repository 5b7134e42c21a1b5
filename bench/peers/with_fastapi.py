"""ONNX Runtime behind FastAPI: each question by itself, in the framework's pool of threads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnxruntime
import uvicorn
from arguments import parse
from fastapi import FastAPI
from pydantic import BaseModel
from reading import Reader, Rows

app = FastAPI()


class Asked(BaseModel):
    question: str
    context: str


def session_of(model: str, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def answer(asked: Asked) -> dict[str, str]:
    return {"answer": app.state.reader.answers([{"question": asked.question, "context": asked.context}])[0]}


if __name__ == "__main__":
    options = parse()
    session = session_of(options.model, options.threads)

    def forward(inputs: Mapping[str, Rows]) -> tuple[Rows, Rows]:
        start, end = session.run(["start_logits", "end_logits"], dict(inputs))
        return start, end

    app.state.reader = Reader(options.tokenizer, forward)
    app.add_api_route("/", answer, methods=["POST"])
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")
