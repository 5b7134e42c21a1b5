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
from itertools import chain
from pathlib import Path
from types import NoneType
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
_NOT_JSON = (ValueError, RecursionError)  # as json.loads says it: numbers of too many digits are ValueErrors
_BLANK_LINES = re.compile(r"\n\s*\n")
_SENTENCE_END = re.compile(r"[.!?:;]['\")\]]*$")

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # whole papers stand in one field


def find_files(paths: Iterable[Path]) -> list[Path]:
    """The files named, and of folders those in them, at any depth, whose suffix is one of SUFFIXES; in
    order, once each.

    CorpusError where a path is not there or a folder holds none."""
    found: dict[Path, None] = {}
    for path in paths:
        try:
            found |= dict.fromkeys(_files_of(path))
        except OSError as error:
            raise CorpusError(f"{path}: {error.strerror}") from error
    return list(found)


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not files:
            raise CorpusError(f"{path}: no file in this folder ends in {', '.join(SUFFIXES)}")
        return files
    if not path.exists():  # it may be a pipe
        raise CorpusError(f"{path}: no such file or folder")
    return [path]


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
        count = 0
        for article in articles:
            _check_article(path, article)
            count += 1
            yield article
        if not count:
            raise CorpusError(f"{path}: holds no articles")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}") from error


def _check_article(path: Path, article: Article) -> None:
    """CorpusError where keys cannot hold its name, or no server its text."""
    if not article.name:
        raise CorpusError(f"{path}: an article in it has a name of which nothing is left in keys")
    try:
        for text in (article.name, *article.blocks, *(question.text for question in article.questions)):
            text.encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise CorpusError(f"{path}: {article.name!r} has half a character: {half!r}") from error


def _read_whole(path: Path) -> Iterator[Article]:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() != ".json" and text.lstrip()[:1] not in ("{", "["):
        return _read_text(path, text)
    try:
        return _read_json(path, json.loads(text))
    except _NOT_JSON as error:
        if path.suffix.lower() == ".txt":
            return _read_text(path, text)
        why = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else error
        raise CorpusError(f"{path}: not JSON ({why})") from error


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
        for qa in paragraph.get("qas") or ():
            with suppress(LookupError, TypeError, ValueError, OverflowError):  # none that can be used
                questions.append(Question(str(qa["question"]), block, int(qa["answers"][0]["answer_start"])))
    name = article_name(str(entry.get("title") or "")) or article_name(f"{path.stem}-{number}")
    return Article(name, tuple(paragraph["context"] for paragraph in paragraphs), tuple(questions))


def _is_squad_paragraph(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("qas"), (list, NoneType)):
        return False
    return isinstance(value.get("context"), str)


def _read_lines(path: Path) -> Iterator[Article]:
    def records() -> Iterator[tuple[str, Any]]:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        yield f"line {number}", json.loads(line)
                    except _NOT_JSON as error:
                        raise CorpusError(
                            f"{path}: line {number} is not JSON ({getattr(error, 'msg', error)})"
                        ) from error

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
    if waiting is not None:
        yield waiting


def _record(path: Path, where: str, default_name: str, value: Any) -> Article:
    """An object with a name and a text, a CORD-19 paper, or a question about an article."""
    if not isinstance(value, dict):
        raise CorpusError(f"{path}: {where} is not an object")
    names = (article_name(str(value[field])) for field in NAME_FIELDS if value.get(field) is not None)
    name = next(filter(None, names), article_name(default_name))
    if value.keys() >= set(_QUESTION_FIELDS):
        _check_question(path, where, value)
        return Article(name, (), (Question(str(value["question"]), sentence=str(value["sentence"])),))
    if "paper_id" in value and "body_text" in value:
        return _cord19_paper(path, where, default_name, value)
    text = next((value[field] for field in TEXT_FIELDS if value.get(field)), None)
    if text is None:
        raise CorpusError(f"{path}: {where} has no text: expected one of {', '.join(TEXT_FIELDS)}")
    return Article(name, tuple(_blocks(path, where, text)))


def _check_question(path: Path, where: str, value: dict[str, Any]) -> None:
    """CorpusError where it has a text of its own: whether that is the article's, nobody can tell."""
    for field in TEXT_FIELDS:
        if field not in _QUESTION_FIELDS and value.get(field):
            raise CorpusError(f"{path}: {where} has a question and {field}: these are two objects")


def _cord19_paper(path: Path, where: str, file_name: str, value: dict[str, Any]) -> Article:
    """Abstract and body of a paper. A parse of a PMC file is named after it, as in PMC302072.xml.json."""
    name = file_name if file_name.endswith(".xml") else str(value["paper_id"])
    texts = [_blocks(path, where, value.get(field) or []) for field in ("abstract", "body_text")]
    return Article(article_name(name), tuple(chain.from_iterable(texts)))


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
