"""LitServe: one worker that takes what waits, at most MAX_BATCH questions, as a batch."""

from __future__ import annotations

import argparse
from typing import Any

import litserve
from eager import reader

MAX_BATCH = 16
BATCH_TIMEOUT_S = 0.005


class QuestionAnswering(litserve.LitAPI):  # type: ignore[misc]
    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(max_batch_size=MAX_BATCH, batch_timeout=BATCH_TIMEOUT_S)
        self.options = options

    def setup(self, device: str) -> None:
        options = self.options
        self.reader = reader(options.model, options.tokenizer, options.threads, options.dtype)

    def decode_request(self, request: dict[str, str]) -> dict[str, str]:
        return request

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, asked: list[dict[str, str]]) -> list[str]:
        found: list[str] = self.reader.answers(asked)
        return found

    def unbatch(self, output: list[str]) -> list[str]:
        return output

    def encode_response(self, output: str) -> dict[str, str]:
        return {"answer": output}


if __name__ == "__main__":
    from arguments import parse

    options = parse()
    server = litserve.LitServer(QuestionAnswering(options), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False, log_level="warning")
