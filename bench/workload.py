"""What is asked: questions that people wrote about real text, each with the part of the text it is about.

A third is about one sentence, a third about it and its neighbours, a third about the whole paragraph, in
turn, so that each run of a few questions has the same mix of lengths.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from keymiss_deploy.models.squad import Example, Gold, around_answer, paragraph, read

CORPUS = Path(__file__).parent.parent / "corpus"  # in the repository, and beside this package where installed
SHARED_FILE = Path("data", "squad_heldout.json")  # in the folder that KEYMISS_SHARED names
LEAST = 80  # more than there are clients: of two that ask the same at once, one costs nothing
_PARTS: tuple[Callable[[Example], Example], ...] = (
    around_answer,
    lambda example: around_answer(example, before=1, after=1),
    paragraph,
)


@dataclass(frozen=True)
class Item:
    """A question, the text it is about, and the answers that people gave. `name` is the text's own."""

    name: str
    paragraph: str
    question: str
    golds: tuple[str, ...]


def items(files: Sequence[Path], count: int) -> list[Item]:
    """`count` questions, spread over those of SQuAD files; of the corpus that comes with Keymiss where no
    file is named. Where there are fewer, each is asked about several parts of its text. ValueError where a
    file is not of that format, or has too few."""
    told = os.environ.get("KEYMISS_SHARED")
    if told and not files:
        files = [Path(told) / SHARED_FILE]
    asked = [example for example in (_of_files(files) if files else _of_corpus()) if example.answers]
    few = min(count, len(asked))
    spread = [asked[n * len(asked) // few] for n in range(few)]
    turns = (
        _PARTS[(n + turn) % len(_PARTS)](one) for turn in range(len(_PARTS)) for n, one in enumerate(spread)
    )
    different = {(one.context, one.question): one for one in turns}
    chosen = list(different.values())[:count]
    if len(chosen) < LEAST:
        raise ValueError(f"{len(asked)} questions with an answer are too few to ask")
    names = {text: f"text-{n}" for n, text in enumerate(dict.fromkeys(one.context for one in chosen))}
    return [
        Item(names[one.context], one.context, one.question.strip(), tuple(gold.text for gold in one.answers))
        for one in chosen
    ]


def save(asked: Sequence[Item], file: Path) -> None:
    """For the processes that are asked."""
    file.write_text(json.dumps([asdict(item) for item in asked]))


def load(file: Path) -> list[Item]:
    """What `save` wrote."""
    return [Item(**{**fields, "golds": tuple(fields["golds"])}) for fields in json.loads(file.read_text())]


def _of_files(files: Sequence[Path]) -> Iterator[Example]:
    return chain.from_iterable(asked for article in read(*files) for _, asked in article.paragraphs)


def _of_corpus() -> Iterator[Example]:
    """Each question of the corpus with the paragraph, a line of its article, that its sentence stands in."""
    for entry in json.loads((CORPUS / "questions.json").read_text()):
        text = (CORPUS / f"{entry['article']}.txt").read_text()
        (line, *_) = (line for line in text.splitlines() if entry["sentence"] in line)
        start = line.index(entry["sentence"]) + entry["sentence"].index(entry["answer"])
        yield Example(entry["question"], line, (Gold(entry["answer"], start),))
