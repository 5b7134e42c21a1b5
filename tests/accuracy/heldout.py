"""The held-out questions of the shared data, each with the paragraph that it is asked about.

Nothing is trained or tuned on these files. COVID-QA asks about whole papers: here a question is asked about
the thousand characters around its answer, and a few about the whole paper, which has to be windowed.

CI asks a fixed sample of each set, spread evenly; `KEYMISS_ACCURACY=full` asks all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WINDOW_CHARACTERS = 1000
SAMPLES = {"squad": 50, "covidqa": 50, "covidqa-papers": 3}

FULL = os.environ.get("KEYMISS_ACCURACY") == "full"


@dataclass(frozen=True)
class Item:
    """A question, its paragraph, and the answers that people gave. `name` is the paragraph's, for its key."""

    name: str
    paragraph: str
    question: str
    golds: tuple[str, ...]


def items(name: str, data: Path) -> list[Item]:
    """The questions of a set that are asked."""
    found = SETS[name](data)
    return found if FULL else _spread(found, SAMPLES[name])


def squad(data: Path) -> list[Item]:
    """SQuAD questions about their paragraph."""
    return [
        Item(f"squad-{article}-{number}", context, question, golds)
        for article, qas in _articles(data / "squad_heldout.json")
        for number, context, question, _, golds in qas
    ]


def covidqa(data: Path) -> list[Item]:
    """COVID-QA questions, about the text around their answer."""
    asked = [qa for _, qas in _articles(data / "covidqa_heldout.json") for qa in qas]
    return [
        Item(f"covidqa-{n}", _around(context, start, golds[0]), question, golds)
        for n, (_, context, question, start, golds) in enumerate(asked)
    ]


def covidqa_papers(data: Path) -> list[Item]:
    """COVID-QA questions about the whole paper, of many times the model's length."""
    return [
        Item(f"paper-{article}-{number}", context, question, golds)
        for article, qas in _articles(data / "covidqa_heldout.json")
        for number, context, question, _, golds in qas
    ]


SETS = {"squad": squad, "covidqa": covidqa, "covidqa-papers": covidqa_papers}

Asked = tuple[
    int, str, str, int, tuple[str, ...]
]  # number of the context, context, question, start of answer, golds


def _articles(path: Path) -> Iterator[tuple[int, list[Asked]]]:
    articles: list[dict[str, Any]] = json.loads(path.read_text())["data"]
    for number, article in enumerate(articles):
        yield (
            number,
            [
                (
                    context_number,
                    paragraph["context"],
                    qa["question"].strip(),
                    qa["answers"][0]["answer_start"],
                    tuple(answer["text"] for answer in qa["answers"]),
                )
                for context_number, paragraph in enumerate(article["paragraphs"])
                for qa in paragraph["qas"]
            ],
        )


def _spread(items: list[Item], count: int) -> list[Item]:
    return [items[n * len(items) // count] for n in range(min(count, len(items)))]


def _around(text: str, start: int, answer: str) -> str:
    """About `WINDOW_CHARACTERS` of `text` with the answer in the middle, cut between words."""
    margin = max(0, (WINDOW_CHARACTERS - len(answer)) // 2)
    first, last = max(0, start - margin), min(len(text), start + len(answer) + margin)
    while first > 0 and not text[first - 1].isspace():
        first -= 1
    while last < len(text) and not text[last].isspace():
        last += 1
    return text[first:last].strip()
