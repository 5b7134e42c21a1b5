"""The model in PyTorch as transformers loads it, for servers beside this file that only batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from reading import Reader, Rows
from transformers import AutoModelForQuestionAnswering


def reader(model_folder: str, tokenizer_file: str, threads: int, dtype: str) -> Reader:
    """`dtype` as torch names it."""
    torch.set_num_threads(threads)
    model = AutoModelForQuestionAnswering.from_pretrained(model_folder, dtype=getattr(torch, dtype)).eval()

    def forward(inputs: Mapping[str, Rows]) -> tuple[Rows, Rows]:
        with torch.inference_mode():
            output = model(**{name: torch.from_numpy(rows) for name, rows in inputs.items()})
        return output.start_logits.float().numpy(), output.end_logits.float().numpy()

    return Reader(tokenizer_file, forward)
