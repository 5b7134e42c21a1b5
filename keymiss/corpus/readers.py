"""Articles from files: SQuAD JSON, CORD-19 JSON, JSONL, JSON records, CSV and TSV, plain text.

The format is recognised by what the file holds, its suffix being only a hint. docs/data.md describes each
format.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..keys import article_name
from .articles import Article, CorpusError, Question

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt")
NAME_FIELDS = ("article", "id", "paper_id", "doc_id", "document_id", "name", "title")
TEXT_FIELDS = (
    "text",
    "body",
    "body_text",
    "content",
    "context",
    "paragraphs",
    "sentences",
    "sentence",
    "abstract",
)
_QUESTION_FIELDS = ("article", "question", "sentence")
_BLANK_LINES = re.compile(r"\n\s*\n")
_SENTENCE_END = re.compile(r"[.!?:;]['\")\]]*$")

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # whole papers stand in one field


def find_files(paths: Iterable[Path]) -> list[Path]:
    """The files named, and of folders those in them, at any depth, whose suffix is one of SUFFIXES; in
    order, once each.

    CorpusError where a path is not there or a folder holds none."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            files = sorted(
                file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()
            )
            if not files:
                raise CorpusError(f"{path}: no file in this folder ends in {', '.join(SUFFIXES)}")
        elif path.is_file():
            files = [path]
        else:
            raise CorpusError(f"{path}: no such file or folder")
        found |= dict.fromkeys(files)
    return list(found)


def read_articles(path: Path) -> Iterator[Article]:
    """The articles of a file, one after the other. CorpusError where it cannot be read or is of no known
    format."""
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            articles = _read_table(path)
        elif path.suffix.lower() in (".jsonl", ".ndjson"):
            articles = _read_lines(path)
        else:
            articles = _read_whole(path)
        yield from articles
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}") from error


def _read_whole(path: Path) -> Iterator[Article]:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() != ".json" and text.lstrip()[:1] not in ("{", "["):
        return _read_text(path, text)
    try:
        return _read_json(path, json.loads(text))
    except json.JSONDecodeError as error:
        raise CorpusError(f"{path}: not JSON (line {error.lineno}: {error.msg})") from error


def _read_text(path: Path, text: str) -> Iterator[Article]:
    """Blocks between blank lines; a first block of one line that ends no sentence is a title, not text."""
    blocks = [block for block in _BLANK_LINES.split(text.strip()) if block]
    if len(blocks) > 1 and "\n" not in blocks[0] and not _SENTENCE_END.search(blocks[0]):
        blocks = blocks[1:]
    if not blocks:
        raise CorpusError(f"{path}: holds no text")
    yield Article(article_name(path.stem), tuple(blocks))


def _read_json(path: Path, value: Any) -> Iterator[Article]:
    if isinstance(value, list):
        yield from _read_records(path, ((f"item {n}", item) for n, item in enumerate(value, 1)))
    elif isinstance(value, dict) and isinstance(value.get("data"), list):
        for n, entry in enumerate(value["data"], 1):
            yield _squad_article(path, n, entry)
    elif isinstance(value, dict):
        yield _record(path, "the object", path.name.removesuffix(".json"), value)
    else:
        raise CorpusError(f"{path}: JSON, but neither an object nor a list")


def _squad_article(path: Path, number: int, entry: Any) -> Article:
    where = f"{path}: data[{number - 1}]"
    paragraphs = entry.get("paragraphs") if isinstance(entry, dict) else None
    if not isinstance(paragraphs, list) or not all(
        _is_squad_paragraph(paragraph) for paragraph in paragraphs
    ):
        raise CorpusError(f"{where}: not SQuAD: expected `paragraphs`, each with a `context`")
    questions = []
    for block, paragraph in enumerate(paragraphs):
        for qa in paragraph.get("qas", ()):
            with suppress(KeyError, IndexError, TypeError):  # has no answer, or none that can be used
                questions.append(Question(str(qa["question"]), block, int(qa["answers"][0]["answer_start"])))
    name = article_name(str(entry.get("title") or "")) or article_name(f"{path.stem}-{number}")
    return Article(name, tuple(paragraph["context"] for paragraph in paragraphs), tuple(questions))


def _is_squad_paragraph(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("context"), str)


def _read_lines(path: Path) -> Iterator[Article]:
    def records() -> Iterator[tuple[str, Any]]:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        yield f"line {number}", json.loads(line)
                    except json.JSONDecodeError as error:
                        raise CorpusError(f"{path}: line {number} is not JSON ({error.msg})") from error

    yield from _read_records(path, records())


def _read_table(path: Path) -> Iterator[Article]:
    """A header line, then a row an article, or a row a paragraph: rows of one article that follow each
    other are joined."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        dialect = csv.excel_tab if path.suffix.lower() == ".tsv" else _dialect(lines.read(8192))
        lines.seek(0)
        rows = csv.DictReader(lines, dialect=dialect)
        fields = rows.fieldnames or []
        if not any(name in fields for name in TEXT_FIELDS):
            expected, found = ", ".join(TEXT_FIELDS), ", ".join(fields) or "none"
            raise CorpusError(f"{path}: no column for the text: expected one of {expected}, found {found}")
        yield from _read_records(path, ((f"line {rows.line_num}", row) for row in rows))


def _dialect(sample: str) -> type[csv.Dialect]:
    """Semicolons where the header line has them and no commas, as spreadsheets of many countries write it."""
    header = sample.split("\n", 1)[0]

    class Semicolons(csv.excel):
        delimiter = ";"

    return Semicolons if ";" in header and "," not in header else csv.excel


def _read_records(path: Path, records: Iterable[tuple[str, Any]]) -> Iterator[Article]:
    """One article a record; neighbours of one name are one article."""
    waiting: Article | None = None
    for where, value in records:
        article = _record(path, where, article_name(f"{path.stem}-{where.rsplit(' ', 1)[-1]}"), value)
        if waiting is not None and article.name == waiting.name:
            article = Article(
                article.name, waiting.blocks + article.blocks, waiting.questions + article.questions
            )
        elif waiting is not None:
            yield waiting
        waiting = article
    if waiting is None:
        raise CorpusError(f"{path}: holds no articles")
    yield waiting


def _record(path: Path, where: str, default_name: str, value: Any) -> Article:
    """An object with a name and a text, a CORD-19 paper, or a question about an article."""
    if not isinstance(value, dict):
        raise CorpusError(f"{path}: {where} is not an object")
    name = next(
        (str(value[field]) for field in NAME_FIELDS if value.get(field) not in (None, "")), default_name
    )
    if value.keys() >= set(_QUESTION_FIELDS):
        _check_question(path, where, value)
        return Article(
            article_name(name), (), (Question(str(value["question"]), sentence=str(value["sentence"])),)
        )
    if "paper_id" in value and "body_text" in value:
        return _cord19_paper(default_name, value)
    text = next((value[field] for field in TEXT_FIELDS if value.get(field)), None)
    if text is None:
        raise CorpusError(f"{path}: {where} has no text: expected one of {', '.join(TEXT_FIELDS)}")
    return Article(article_name(name), tuple(_blocks(path, where, text)))


def _check_question(path: Path, where: str, value: dict[str, Any]) -> None:
    """CorpusError where it has a text of its own: whether that is the article's, nobody can tell."""
    for field in TEXT_FIELDS:
        if field not in _QUESTION_FIELDS and value.get(field):
            raise CorpusError(f"{path}: {where} has a question and {field}: these are two objects")


def _cord19_paper(file_name: str, value: dict[str, Any]) -> Article:
    """Abstract and body of a paper. A parse of a PMC file is named after it, as in PMC302072.xml.json."""
    name = file_name if file_name.endswith(".xml") else str(value["paper_id"])
    sections = [*(value.get("abstract") or ()), *value["body_text"]]
    texts = [section.get("text", "") for section in sections if isinstance(section, dict)]
    return Article(article_name(name), tuple(text for text in texts if text))


def _blocks(path: Path, where: str, text: Any) -> list[str]:
    """A text's blocks, or a list of texts (or of objects with a `text`) as they are."""
    if isinstance(text, str):
        return [block for block in _BLANK_LINES.split(text.strip()) if block]
    items = (
        [item.get("text") if isinstance(item, dict) else item for item in text]
        if isinstance(text, list)
        else [None]
    )
    if not all(isinstance(item, str) for item in items):
        raise CorpusError(f"{path}: the text of {where} is neither a string nor a list of strings")
    return [item for item in items if item]
