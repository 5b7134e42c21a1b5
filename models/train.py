"""Train the default model: all-MiniLM-L6-v2 with a span head, on the CPU.

    python -m keymiss_deploy.models.train --sentences qamr.json --paragraphs squad.json OUT

Files are in SQuAD 1.1 format. OUT becomes a Hugging Face folder (`keymiss model store --model OUT`) and
OUT.safetensors the delta to ship. Everything but the word and position embeddings learns. The learning rate
falls to zero at the end of the data or of `--minutes`, whichever comes first.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from keymiss.qa import Encoder, QuestionTooLong, Window

from . import delta
from .logits import INPUTS, pad
from .mix import Mix
from .source import DEFAULT_MAX_TOKENS, default_model
from .squad import Example

BATCH_TOKENS = 4096
BATCH_ROWS = 96
POOL = 2048  # examples among which those of similar length are put together
WARMUP_STEPS = 100
REPORT_STEPS = 25
_MASKED = -1e4  # a logit that cannot win, and is finite in bfloat16


@dataclass(frozen=True)
class Feature:
    """A window with the positions of the answer's first and last piece in it; [CLS], 0, where it has none."""

    window: Window
    start: int
    end: int


def feature(example: Example, encoder: Encoder, rng: Random) -> Feature | None:
    """One window of the example, holding one of its answers; None where no window holds all of it, or the
    question is too long."""
    try:
        question = encoder.question(example.question)
    except QuestionTooLong:
        return None
    pieces = encoder.pieces(example.context)
    windows = list(encoder.windows(question, pieces))
    if not example.answers:
        return Feature(rng.choice(windows), 0, 0)
    answer = rng.choice(example.answers)
    spans = zip(pieces.starts, pieces.ends, strict=True)
    inside = [n for n, (start, end) in enumerate(spans) if start < answer.end and end > answer.start]
    found = []
    for window in windows:
        shift = window.first - window.skipped
        if inside and window.skipped <= inside[0] and inside[-1] < window.skipped + window.count:
            found.append(Feature(window, inside[0] + shift, inside[-1] + shift))
    return rng.choice(found) if found else None


def batches(features: Sequence[Feature], rng: Random) -> list[list[Feature]]:
    """In random order, features of similar length together, each batch about BATCH_TOKENS."""
    shuffled = rng.sample(features, len(features))
    made: list[list[Feature]] = []
    for at in range(0, len(shuffled), POOL):
        batch: list[Feature] = []
        for one in sorted(shuffled[at : at + POOL], key=lambda f: len(f.window.input_ids)):
            tokens = (len(batch) + 1) * len(one.window.input_ids)
            if batch and (tokens > BATCH_TOKENS or len(batch) == BATCH_ROWS):
                made.append(batch)
                batch = []
            batch.append(one)
        made.append(batch)
    rng.shuffle(made)
    return made


def loss_of(model: Any, batch: Sequence[Feature]) -> torch.Tensor:
    """The mean cross-entropy of both ends, over [CLS] and the paragraph's pieces."""
    rows = [(f.window.input_ids, f.window.token_type_ids) for f in batch]
    inputs = dict(zip(INPUTS, map(torch.from_numpy, pad(rows)), strict=True))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(**inputs)
    allowed = torch.zeros(inputs["input_ids"].shape, dtype=torch.bool)
    allowed[:, 0] = True
    for row, one in enumerate(batch):
        allowed[row, one.window.first : one.window.first + one.window.count] = True
    ends = ((output.start_logits, [f.start for f in batch]), (output.end_logits, [f.end for f in batch]))
    losses = [
        nn.functional.cross_entropy(logits.float().masked_fill(~allowed, _MASKED), torch.tensor(gold))
        for logits, gold in ends
    ]
    return (losses[0] + losses[1]) / 2


def train(model: Any, order: Sequence[Sequence[Feature]], rate: float, minutes: float) -> Iterator[str]:
    """Train over the batches in order; yields a line of progress now and then."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=1e-6, fused=True)
    sizes = [sum(len(f.window.input_ids) for f in batch) for batch in order]
    began_s, recent = time.monotonic(), list[float]()
    model.train()
    for step, batch in enumerate(order):
        spent = (time.monotonic() - began_s) / (60 * minutes)
        progress = max(sum(sizes[:step]) / sum(sizes), spent)
        if progress >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / WARMUP_STEPS) * (1 - progress)
        loss = loss_of(model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        recent = [*recent, loss.item()][-REPORT_STEPS:]
        if (step + 1) % REPORT_STEPS == 0 or step + 1 == len(order):
            yield f"step {step + 1} of {len(order)}, {100 * progress:.0f} %, loss {np.mean(recent):.3f}"
    model.eval()


def untrained(start: str, dropout: float) -> tuple[Any, Encoder]:
    """The model to start from, `base` (its head is new) or `default`, and its encoder. Embeddings do not
    learn."""
    from transformers import BertConfig, BertForQuestionAnswering

    config = BertConfig.from_pretrained(
        str(delta.base_folder()),
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=0.0,  # very slow on a CPU
    )
    model = BertForQuestionAnswering(config)
    weights = {"base": delta.base_weights, "default": delta.apply}[start]()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, strict=False)
    for embedding in (model.bert.embeddings.word_embeddings, model.bert.embeddings.position_embeddings):
        embedding.requires_grad_(False)
    tokenizer = Tokenizer.from_file(str(delta.base_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(DEFAULT_MAX_TOKENS)
    return model, Encoder(tokenizer)


def save(model: Any, folder: Path) -> Path:
    """Write the delta, and of it the Hugging Face folder: what is scored is what is shipped. Returns the
    delta."""
    file = folder.with_name(f"{folder.name}.safetensors")
    delta.make({name: value.detach().numpy() for name, value in model.state_dict().items()}, file)
    default_model(folder, file)
    return file


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for kind in ("sentences", "paragraphs", "documents"):
        parser.add_argument(f"--{kind}", type=Path, nargs="+", default=[], metavar="FILE", help="see mix")
    parser.add_argument("folder", type=Path, help="where the model goes; must not be there yet")
    parser.add_argument("--start", choices=("base", "default"), default="base", help="default: %(default)s")
    parser.add_argument(
        "--epochs", type=int, default=2, help="over paragraphs and documents, default: %(default)s"
    )
    parser.add_argument("--minutes", type=float, default=95, help="at most, default: %(default)s")
    parser.add_argument(
        "--rate", type=float, default=1.5e-4, help="of learning, at its highest, default: %(default)s"
    )
    parser.add_argument("--dropout", type=float, default=0.05, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=7, help="default: %(default)s")
    arguments = parser.parse_args()
    if arguments.folder.exists():
        parser.error(f"{arguments.folder} is there already")
    torch.manual_seed(arguments.seed)
    rng = Random(arguments.seed)
    model, encoder = untrained(arguments.start, arguments.dropout)
    order: list[list[Feature]] = []
    mix = Mix(arguments.sentences, arguments.paragraphs, arguments.documents)
    for examples in mix.phases(rng, arguments.epochs):
        features = [made for example in examples if (made := feature(example, encoder, rng)) is not None]
        order += batches(features, rng)
        print(
            f"{len(features)} examples, {sum(f.end == 0 for f in features)} of them without an answer",
            flush=True,
        )
    if not order:
        parser.error("there are no questions to train on: name some files")
    for line in train(model, order, arguments.rate, arguments.minutes):
        print(line, flush=True)
    print(f"{arguments.folder}, and {save(model, arguments.folder)} to ship")


if __name__ == "__main__":
    main()
