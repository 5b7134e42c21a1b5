"""Exact match and F1 of a model on SQuAD-format files, without a server: the yardstick for answers that
come by GET.

    python -m keymiss_deploy.models.score [--model NAME] [--format torchscript] [--context sentence] FILE...

Inputs are made, and spans found, by the code that the deployed functions run. `--format eager` runs the
model as transformers does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from keymiss.qa import Answer, Encoder, Window, answer_of, metric

from .export import export
from .forms import FORMS
from .logits import Logits, load_logits, pad
from .source import DEFAULT, cache_folder, load_eager
from .squad import POLICIES, Example, examples

BATCH_TOKENS = 4096  # of a padded batch


def predict(logits: Logits, encoder: Encoder, asked: Sequence[Example]) -> list[Answer]:
    """The model's best answer to each question. QuestionTooLong for one over the encoder's limit."""
    pieces = [encoder.pieces(example.context) for example in asked]
    windows: list[tuple[int, Window]] = []
    for n, example in enumerate(asked):
        question = encoder.question(example.question)
        windows += ((n, window) for window in encoder.windows(question, pieces[n]))
    outputs: list[list[tuple[Window, Sequence[float], Sequence[float]]]] = [[] for _ in asked]
    for batch in batches(windows):
        starts, ends = logits(pad([(window.input_ids, window.token_type_ids) for _, window in batch]))
        for (n, window), start, end in zip(batch, starts, ends, strict=True):
            outputs[n].append((window, start.tolist(), end.tolist()))
    return [answer_of(e.context, p, o) for e, p, o in zip(asked, pieces, outputs, strict=True)]


def batches(windows: Iterable[tuple[int, Window]]) -> Iterator[list[tuple[int, Window]]]:
    """Windows of similar length together, about BATCH_TOKENS tokens at once."""
    batch: list[tuple[int, Window]] = []
    for n, window in sorted(windows, key=lambda pair: len(pair[1].input_ids)):
        if batch and (len(batch) + 1) * len(window.input_ids) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append((n, window))
    if batch:
        yield batch


def score(logits: Logits, encoder: Encoder, asked: Sequence[Example]) -> tuple[float, float]:
    """Exact match and F1 in percent. Every question has an answer here, so the best span counts whatever
    its margin."""
    found = predict(logits, encoder, asked)
    return metric.score([a.text for a in found], [[gold.text for gold in e.answers] for e in asked])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument(
        "--model", default=DEFAULT, help="a Hugging Face id or folder (default: the one without a hub)"
    )
    parser.add_argument("--format", choices=[*FORMS, "eager"], default="torchscript")
    parser.add_argument(
        "--context", choices=POLICIES, default="sentence", help="what each question is asked about"
    )
    parser.add_argument("--limit", type=int, help="only so many questions of each file")
    arguments = parser.parse_args()
    if arguments.format == "eager":
        from .tracing import LogitsModule, eager_logits  # imports torch

        model, tokenizer = load_eager(arguments.model, cache_folder())
        logits, encoder = eager_logits(LogitsModule(model)), Encoder(tokenizer)
    else:
        exported = export(arguments.model, arguments.format)
        logits = load_logits(exported.model(arguments.format), arguments.format)
        encoder = Encoder.from_file(exported.tokenizer)
    for file in arguments.files:
        asked = list(examples(file, arguments.context))[: arguments.limit]
        began_s = time.monotonic()
        exact, f1 = score(logits, encoder, asked)
        took_s = time.monotonic() - began_s
        print(
            f"{file.name}  {arguments.context}  {arguments.format}  n {len(asked)}  "
            f"EM {exact:.1f}  F1 {f1:.1f}  {1000 * took_s / len(asked):.1f} ms/question",
            flush=True,
        )


if __name__ == "__main__":
    main()
