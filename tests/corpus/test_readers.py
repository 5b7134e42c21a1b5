"""Every format becomes the same articles; what is none of them is refused with its file and place."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.paths import REPOSITORY

from keymiss.corpus import Article, CorpusError, find_files, read_articles

SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": "Black Death",
            "paragraphs": [
                {
                    "context": "It came in 1347. Rats carried it.",
                    "qas": [
                        {"id": "a", "question": "Unanswerable?", "answers": []},
                        {
                            "id": "b",
                            "question": "What carried it?",
                            "answers": [{"text": "Rats", "answer_start": 17}],
                        },
                    ],
                },
                {"context": "It ended in 1351."},
            ],
        }
    ],
}
CORD19 = {
    "paper_id": "0a1b",
    "metadata": {"title": "A paper"},
    "abstract": [{"text": "In short."}],
    "body_text": [{"text": "First section.", "section": "Introduction"}, {"text": ""}, {"text": "Second."}],
}


def read(folder: Path, name: str, content: str | bytes) -> list[Article]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_articles(path))


def test_squad_gives_paragraphs_and_the_questions_that_have_answers(tmp_path: Path) -> None:
    (article,) = read(tmp_path, "dev.json", json.dumps(SQUAD))
    assert article.name == "Black_Death"
    assert article.blocks == ("It came in 1347. Rats carried it.", "It ended in 1351.")
    assert [(question.text, question.block, question.start) for question in article.questions] == [
        ("What carried it?", 0, 17)
    ]


def test_a_paper_of_cord19_is_named_by_its_id(tmp_path: Path) -> None:
    (article,) = read(tmp_path, "x.json", json.dumps(CORD19))
    assert (article.name, article.blocks) == ("0a1b", ("In short.", "First section.", "Second."))


def test_a_pmc_parse_of_cord19_is_named_after_its_file(tmp_path: Path) -> None:
    (article,) = read(tmp_path, "PMC302072.xml.json", json.dumps(CORD19))
    assert article.name == "PMC302072.xml"


def test_json_lines_give_an_article_each(tmp_path: Path) -> None:
    lines = '{"id": 7, "text": "One."}\n\n{"title": "b c", "sentences": ["Two.", "Three."]}\n' + json.dumps(
        CORD19
    )
    assert [(a.name, a.blocks) for a in read(tmp_path, "all.jsonl", lines)] == [
        ("7", ("One.",)),
        ("b_c", ("Two.", "Three.")),
        ("0a1b", ("In short.", "First section.", "Second.")),
    ]


def test_a_record_without_a_name_is_named_after_its_file_and_line(tmp_path: Path) -> None:
    (article,) = read(tmp_path, "notes.jsonl", '\n{"text": "One."}\n')
    assert article.name == "notes-2"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'article,text\nx,"One, and more."\nx,Two.\ny,Three.\n'),
        ("a.csv", "article;text\nx;One, and more.\nx;Two.\ny;Three.\n"),
        ("a.tsv", "article\ttext\nx\tOne, and more.\nx\tTwo.\ny\tThree.\n"),
        ("a.csv", '\ufeffarticle,text\r\nx,"One, and more."\r\nx,Two.\r\ny,Three.\r\n'),
    ],
)
def test_neighbouring_rows_of_a_table_with_one_name_are_one_article(
    tmp_path: Path, name: str, text: str
) -> None:
    assert read(tmp_path, name, text) == [Article("x", ("One, and more.", "Two.")), Article("y", ("Three.",))]


def test_plain_text_is_cut_at_blank_lines_and_its_title_left_out(tmp_path: Path) -> None:
    (article,) = read(tmp_path, "polio virus.txt", "Polio\n\nIt is a virus.\nIt has three types.\n \nMore.\n")
    assert (article.name, article.blocks) == ("polio_virus", ("It is a virus.\nIt has three types.", "More."))


def test_a_first_line_that_is_a_sentence_is_no_title(tmp_path: Path) -> None:
    (article,) = read(tmp_path, "a.txt", "Polio is a virus.\n\nMore.\n")
    assert article.blocks == ("Polio is a virus.", "More.")


def test_a_file_with_an_unknown_suffix_is_recognised_by_its_content(tmp_path: Path) -> None:
    assert read(tmp_path, "squad", json.dumps(SQUAD))[0].name == "Black_Death"
    assert read(tmp_path, "article.text", "Plain.")[0].blocks == ("Plain.",)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.json", "{", "a.json: not JSON (line 1"),
        ("a.json", "3", "neither an object nor a list"),
        ("a.json", '{"x": 1}', "a.json: the object has no text: expected one of text, body"),
        ("a.json", '{"data": [{"title": "t"}]}', "data[0]: not SQuAD"),
        ("a.json", '{"data": [{"paragraphs": [{"context": 3}]}]}', "data[0]: not SQuAD"),
        ("a.json", "[]", "holds no articles"),
        ("a.json", "[3]", "item 1 is not an object"),
        ("a.json", '[{"text": 3}]', "the text of item 1 is neither a string nor a list"),
        ("a.jsonl", '{"text": "One."}\n{"text": \n', "a.jsonl: line 2 is not JSON"),
        (
            "a.jsonl",
            '{"text": "One."}\n{"article": "a", "question": "Who?", "sentence": "S.", "text": "S. T."}\n',
            "a.jsonl: line 2 has a question and text: these are two objects",
        ),
        ("a.csv", "name,wording\nx,y\n", "no column for the text: expected one of text"),
        ("a.csv", "", "found none"),
        ("a.csv", "name,text\nx,\n", "line 2 has no text"),
        ("a.txt", " \n", "holds no text"),
        ("_.txt", "One.", "an article in it has a name of which nothing is left in keys"),
        ("a.json", '{"data": []}', "a.json: holds no articles"),
        ("a.json", '{"data": [{"paragraphs": [{"context": "One.", "qas": 3}]}]}', "data[0]: not SQuAD"),
        ("a.json", '{"paper_id": "a", "body_text": [{"text": 3}]}', "the text of the object is neither"),
        ("a.json", '{"paper_id": "a", "abstract": 3, "body_text": []}', "the text of the object is neither"),
        ("a.json", '{"id": "a", "text": "Half \\ud800."}', "'a' has half a character: '\\ud800'"),
        ("a.json", "[" * 100_000, "a.json: not JSON (maximum recursion depth exceeded"),
        ("a.jsonl", '{"id": ' + "1" * 5000 + "}", "line 1 is not JSON (Exceeds the limit"),
        ("a.txt", b"\xff\xfe\x00", "a.txt: not UTF-8 text (byte 0)"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(
    tmp_path: Path, name: str, content: str | bytes, complaint: str
) -> None:
    with pytest.raises(CorpusError) as refusal:
        read(tmp_path, name, content)
    assert complaint in str(refusal.value)


def test_a_name_of_which_nothing_is_left_gives_way_to_the_next(tmp_path: Path) -> None:
    lines = '{"id": "{}", "title": "polio", "text": "One."}\n{"id": " ", "text": "Two."}'
    assert [article.name for article in read(tmp_path, "a.jsonl", lines)] == ["polio", "a-2"]


def test_a_name_is_never_that_of_a_paragraph(tmp_path: Path) -> None:
    articles = '[{"id": "pmid:123", "text": "One."}, {"id": ":5", "text": "Two."}]'
    assert [article.name for article in read(tmp_path, "a.json", articles)] == ["pmid_123", "5"]


def test_plain_text_may_begin_with_a_bracket(tmp_path: Path) -> None:
    (article,) = read(tmp_path, "a.txt", "[1] is a reference.")
    assert article.blocks == ("[1] is a reference.",)


def test_questions_that_cannot_be_used_are_left_out(tmp_path: Path) -> None:
    qas: list[Any] = [{"question": "Where?", "answers": [{"answer_start": at}]} for at in ("here", 1e999)]
    qas.append(3)
    paragraphs = [{"context": "One.", "qas": qas}, {"context": "Two.", "qas": None}]
    (article,) = read(tmp_path, "a.json", json.dumps({"data": [{"paragraphs": paragraphs}]}))
    assert article == Article("a-1", ("One.", "Two."))


def test_a_path_that_cannot_be_one_is_refused_and_a_pipe_is_read(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="File name too long"):
        find_files([Path("a" * 300)])
    os.mkfifo(tmp_path / "pipe")
    assert find_files([tmp_path / "pipe"]) == [tmp_path / "pipe"]


def test_folders_are_searched_for_files_of_known_suffixes(tmp_path: Path) -> None:
    for name in ("b/x.json", "a.txt", "b/c/y.jsonl", "b/readme.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_files([tmp_path / "b", tmp_path / "a.txt", tmp_path])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["b/c/y.jsonl", "b/x.json", "a.txt"]


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such file or folder"):
        find_files([tmp_path / "none"])


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no file in this folder ends in"):
        find_files([tmp_path])


def test_the_sample_corpus_has_a_question_for_most_articles() -> None:
    articles = [article for path in find_files([REPOSITORY / "corpus"]) for article in read_articles(path)]
    assert len([article for article in articles if article.blocks]) >= 20
    assert len({article.name for article in articles if article.questions}) >= 10
