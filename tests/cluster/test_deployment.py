"""What `keymiss up`, `model store`, `load` and `deploy` make together: a cluster that answers questions."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from support.command_line import CommandLine, command_line
from support.paths import REPOSITORY
from support.processes import runs, stopped
from support.server import Server, wait_for_replica
from support.waiting import wait_until

from keymiss.client import (
    QA,
    Answers,
    AsyncQA,
    Shard,
    connect,
    read_registrations,
    read_shards,
    shard_of,
    text_of,
)
from keymiss.hashtags import slot_of
from keymiss.keys import Paragraph, model_key, processed_key, tokenizer_key
from keymiss.qa.metric import f1

CORPUS = REPOSITORY / "corpus"
STORE = ("model", "store", "--backend", "openvino", "--precision", "bf16")
RECOVERY_DEADLINE_S = 60.0
AT_ONCE = 32  # as in gears/answer.py
LEAST_F1 = 0.8  # on the sample corpus's own questions; 0.9 when this was written


@dataclass(frozen=True)
class Deployment:
    """A cluster with the sample corpus, the default model and the deployed functions."""

    keymiss: CommandLine
    shards: list[Shard]

    def shard_of(self, article: str) -> Shard:
        return shard_of(slot_of(article), self.shards)

    def paragraph(self, article: str, number: int | str) -> Paragraph:
        return Paragraph(article, self.shard_of(article).hash_tag, str(number))

    def client(self, article: str) -> redis.Redis:
        """A client of the shard that holds the article."""
        return self.shard_of(article).connect()

    def ask(self, article: str, number: int | str, question: str) -> str:
        """The answer; redis.ResponseError where it is one."""
        with closing(self.client(article)) as client:
            return text_of(client.get(self.paragraph(article, number).question_key(question)))

    def models_worker(self) -> dict[str, Any]:
        """What the status tells of the worker that the shards share."""
        workers = self.keymiss.status()["workers"]
        (shared,) = (worker for worker in workers if worker["port"] is None)
        return dict(shared)

    def model_calls(self, article: str) -> int:
        """How often the model of the article's shard has run."""
        with closing(self.client(article)) as client:
            info = client.execute_command("AI.INFO", model_key(self.shard_of(article).hash_tag))
        counted = dict(zip(info[::2], info[1::2], strict=True))
        return int(counted[b"calls"])


@pytest.fixture(scope="module")
def deployment(server_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with command_line(server_kind, tmp_path_factory.mktemp("deployment")) as keymiss:
        keymiss.up("--shards", "2", "--replicas", "1")
        keymiss(*STORE)
        keymiss("load", CORPUS)
        keymiss("deploy")
        with closing(connect("127.0.0.1", keymiss.port)) as client:
            shards = read_shards(client)
        yield Deployment(keymiss, shards)


def test_the_sample_key_of_the_status_answers_and_then_comes_from_the_cache(deployment: Deployment) -> None:
    key = deployment.keymiss.status()["sample_key"]
    assert "by the model" in deployment.keymiss("ask", key)
    assert "from the cache" in deployment.keymiss("ask", key)


def test_the_page_tells_of_every_field_of_the_status(deployment: Deployment) -> None:
    told = set(re.findall(r"`(\w+)`", (REPOSITORY / "docs" / "cluster.md").read_text()))
    status = deployment.keymiss.status()
    lists = [value for value in status.values() if isinstance(value, list)]
    fields = set(status).union(*(one for objects in lists for one in objects))
    assert fields - told == set()


def test_the_questions_of_the_sample_corpus_are_answered_right(deployment: Deployment) -> None:
    questions: list[dict[str, str]] = json.loads((CORPUS / "questions.json").read_text())
    scores = []
    for question in questions:
        with closing(deployment.client(question["article"])) as client:
            stored: Any = client.hgetall(deployment.paragraph(question["article"], 1).hash_key)
        numbers = {text_of(text): text_of(number) for number, text in stored.items()}
        answer = deployment.ask(question["article"], numbers[question["sentence"]], question["question"])
        assert answer in question["sentence"], "an answer is an exact substring of its sentence"
        scores.append(f1(answer, [question["answer"]]))
    assert sum(scores) / len(scores) >= LEAST_F1


def test_a_miss_is_one_inference_however_often_the_functions_were_deployed(deployment: Deployment) -> None:
    for _ in range(2):
        deployment.keymiss("deploy")
    before = deployment.model_calls("measles")
    deployment.ask("measles", 3, "How many inferences does this cost?")
    assert deployment.model_calls("measles") == before + 1
    sessions = [function["session"] for function in deployment.keymiss.status()["functions"]]
    assert sorted(sessions) == [*["keymiss-answer"] * 3, "keymiss-tokenise"]


def test_a_paragraph_that_was_asked_before_is_answered_as_it_is_now(deployment: Deployment) -> None:
    paragraph = deployment.paragraph("changing", 1)
    with closing(deployment.client("changing")) as client:
        for city in ("Genoa", "Venice", "Genoa"):
            client.hset(paragraph.hash_key, "1", f"The first ship of that year arrived in {city}.")
            assert city in deployment.ask("changing", 1, f"Where did the first ship arrive? ({city})")
            client.delete(paragraph.question_key(f"Where did the first ship arrive? ({city})"))
        client.delete(paragraph.hash_key)
    with pytest.raises(redis.ResponseError, match="no article"):
        deployment.ask("changing", 1, "And where now?")


def test_tokens_of_another_text_are_not_taken_for_those_of_the_paragraph(deployment: Deployment) -> None:
    paragraph = deployment.paragraph("late", 1)
    with closing(deployment.client("late")) as client:

        def tokens() -> bytes | None:
            return client.execute_command("AI.TENSORGET", paragraph.tokens_key, "BLOB") or None

        client.hset(paragraph.hash_key, "1", "A very large ship full of grain and silk arrived in Genoa.")
        of_old = wait_until(tokens, 10.0, "the paragraph has its tokens")
        client.hset(paragraph.hash_key, "1", "Mary Smith, a young physician, discovered the virus in 1931.")
        wait_until(lambda: tokens() != of_old, 10.0, "the new text has its tokens")
        shape = 3, len(of_old) // 12
        client.execute_command("AI.TENSORSET", paragraph.tokens_key, "INT32", *shape, "BLOB", of_old)
    assert "Mary Smith" in deployment.ask("late", 1, "Who discovered the virus?")
    assert "Mary Smith" in deployment.ask("late", 1, "Who discovered it in 1931?")


def test_an_answer_of_a_text_that_changed_meanwhile_is_not_cached(deployment: Deployment) -> None:
    paragraph, question = deployment.paragraph("meanwhile", 1), "Where did the first ship arrive?"
    with closing(deployment.client("meanwhile")) as client, ThreadPoolExecutor(2) as pool:
        client.hset(paragraph.hash_key, "1", "The first ship of that year arrived in Genoa.")
        deployment.ask("meanwhile", 1, "Is the model loaded?")
        with stopped(deployment.models_worker()["pid"]) as go_on:
            asking = pool.submit(deployment.ask, "meanwhile", 1, question)
            among_many = pool.submit(client.execute_command, "RG.TRIGGER", "ask", question, "meanwhile:1")
            # Three jobs: theirs, and the run that they share.
            wait_until(lambda: client.info("keymiss")["keymiss_jobs_now"] == 3, 10.0, "both wait for it")
            client.hset(paragraph.hash_key, "1", "The first ship of that year arrived in Venice.")
            go_on()
            assert "Genoa" in asking.result()
            among_many.result()
        (((_, text, *_),),) = client.execute_command("RG.TRIGGER", "ask", question, "meanwhile:1")
    assert "Venice" in text_of(text)
    assert "Venice" in deployment.ask("meanwhile", 1, question)


def test_an_answer_of_a_model_that_was_replaced_meanwhile_is_not_cached(deployment: Deployment) -> None:
    paragraph, question = deployment.paragraph("zoonoses", 1), "Which model answers?"
    deployment.ask("zoonoses", 1, "Is the model loaded?")
    with closing(deployment.client("zoonoses")) as client, ThreadPoolExecutor(1) as pool:
        with stopped(deployment.models_worker()["pid"]) as go_on:
            asking = pool.submit(deployment.ask, "zoonoses", 1, question)
            wait_until(lambda: client.info("keymiss")["keymiss_jobs_now"] == 2, 10.0, "it waits")
            client.hincrby(tokenizer_key(paragraph.tag), "stored", 1)  # as `keymiss model store` does
            go_on()
            asking.result()
        assert not client.exists(paragraph.question_key(question))
        client.hincrby(tokenizer_key(paragraph.tag), "stored", -1)
    deployment.ask("zoonoses", 1, f"{question} (again)")
    with closing(deployment.client("zoonoses")) as client:
        assert client.exists(paragraph.question_key(f"{question} (again)"))


ASKED = ["hiv:2", "nothing:7", "measles", "hiv:999"]


def test_many_paragraphs_are_answered_as_one_by_one_and_errors_spoil_none(deployment: Deployment) -> None:
    question = "Which cells does it infect first?"
    with closing(redis.RedisCluster("127.0.0.1", deployment.keymiss.port)) as cluster:
        with closing(deployment.client("measles")) as client:
            count = client.hlen(deployment.paragraph("measles", 1).hash_key)
        one_by_one = {
            f"{article}:{number}": deployment.ask(article, number, question)
            for article, number in [("hiv", 2), *(("measles", n) for n in range(1, count + 1))]
        }
        answers = QA(cluster).ask(question, ASKED)
        assert {one.paragraph: one.text for one in answers.paragraphs if one.error is None} == one_by_one
        assert [one.paragraph for one in answers.paragraphs] == [
            *("hiv:2", "nothing:7"),
            *(f"measles:{n}" for n in range(1, count + 1)),
            "hiv:999",
        ]
        assert all(bool(one.text) == (one.margin > 0) for one in answers.paragraphs)
        assert [one.paragraph for one in answers.errors] == ["nothing:7", "hiv:999"]
        assert answers.best is None or answers.best.margin == max(one.margin for one in answers.paragraphs)
        before = deployment.model_calls("measles"), deployment.model_calls("hiv")
        assert QA(cluster).ask(question, ASKED) == answers
        assert (deployment.model_calls("measles"), deployment.model_calls("hiv")) == before


def test_those_who_ask_the_same_of_many_at_once_are_answered_by_one_inference(deployment: Deployment) -> None:
    def ask(_: int) -> Answers:
        with closing(redis.RedisCluster("127.0.0.1", deployment.keymiss.port)) as cluster:
            return QA(cluster).ask("Who asks this at once?", ["rabies:2"])

    before = deployment.model_calls("rabies")
    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(ask, range(4))
    assert all(other == first for other in others)
    assert deployment.model_calls("rabies") == before + 1
    assert deployment.ask("rabies", 2, "Who asks this at once?") == first.paragraphs[0].text
    assert deployment.model_calls("rabies") == before + 1


async def ask_many_by_asyncio(port: int, question: str) -> Answers:
    async with redis.asyncio.RedisCluster("127.0.0.1", port) as cluster:
        return await AsyncQA(cluster).ask(question, ASKED)


def test_an_asyncio_client_asks_many_as_well(deployment: Deployment) -> None:
    answers = asyncio.run(ask_many_by_asyncio(deployment.keymiss.port, "How long is it contagious?"))
    with closing(redis.RedisCluster("127.0.0.1", deployment.keymiss.port)) as cluster:
        assert QA(cluster).ask("How long is it contagious?", ASKED) == answers


def test_too_many_paragraphs_and_names_of_none_are_refused(deployment: Deployment) -> None:
    with closing(redis.RedisCluster("127.0.0.1", deployment.keymiss.port)) as cluster:
        with pytest.raises(redis.ResponseError, match=r"^513 paragraphs are too many for one question"):
            QA(cluster).ask("Why?", [f"hiv:{n}" for n in range(513)])
        for names, complaint in (["two words"], "'two words' is no <article>"), ([], "no paragraph is named"):
            with pytest.raises(ValueError, match=complaint):
                QA(cluster).ask("Why?", names)
    with (
        closing(deployment.client("hiv")) as client,
        pytest.raises(redis.ResponseError, match="name what to ask about"),
    ):
        client.execute_command("RG.TRIGGER", "ask", "Why?")


def test_an_article_that_is_not_there_has_a_row_of_its_name(deployment: Deployment) -> None:
    with closing(deployment.client("hiv")) as client:
        (((name, error),),) = client.execute_command("RG.TRIGGER", "ask", "Which cells?", "nothing")
    assert name == b"nothing"
    assert "no article" in str(error)


def test_many_are_asked_by_the_trigger_with_and_without_a_key(deployment: Deployment) -> None:
    with closing(deployment.client("hiv")) as client:
        plain = client.execute_command("RG.TRIGGER", "ask", "Which cells?", "hiv:2")
        (((name, *_),),) = plain
        assert name == b"hiv:2"
        assert plain == client.execute_command(
            "RG.TRIGGERONKEY", "ask_on_key", "hiv", "Which cells?", "hiv:2"
        )


def test_the_command_line_asks_many_articles_and_shows_the_best_answer(deployment: Deployment) -> None:
    shown = deployment.keymiss("ask", "Who invented PCR?", "--of", "p*", "--of", "hiv:999").splitlines()
    assert shown[0] == "Kary Mullis"
    assert any(line.startswith("hiv:999: no paragraph 999") for line in shown)
    with closing(deployment.client("pcr_[1]")) as client:
        client.hset(deployment.paragraph("pcr_[1]", 1).hash_key, "1", "Kary Mullis invented PCR.")
    for name in ("pcr_[1]", "pcr_[1]:1"):
        assert deployment.keymiss("ask", "Who invented PCR?", "--of", name).startswith("Kary Mullis")
    assert "no article is named q*" in deployment.keymiss("ask", "Who?", "--of", "q*", status=1)
    assert "no paragraph could be asked" in deployment.keymiss("ask", "Who?", "--of", "hiv:999", status=1)


def test_a_question_without_an_answer_gives_an_empty_string(deployment: Deployment) -> None:
    assert deployment.ask("adenovirus", 3, "What colour is the sky?") == ""


def test_a_question_may_hold_underscores_colons_and_braces(deployment: Deployment) -> None:
    assert deployment.ask("adenovirus", 2, "When were they: first_isolated {adenoviruses}?") == "1953"


@pytest.mark.parametrize(
    ("article", "number", "question", "complaint"),
    [
        ("adenovirus", 2, " ", "the question is empty"),
        ("adenovirus", 999, "Why?", "no paragraph 999 in sentence:adenovirus:"),
        ("nothing", 1, "Why?", "load it with `keymiss load`"),
        ("adenovirus", 2, "why " * 65, "the question has 65 word pieces, at most 64 are allowed"),
        ("adenovirus", 2, "w" * 8193, "the question has 8193 characters, at most 8192 are allowed"),
    ],
)
def test_what_cannot_be_answered_gets_its_own_error(
    deployment: Deployment, article: str, number: int, question: str, complaint: str
) -> None:
    with pytest.raises(redis.ResponseError) as error:
        deployment.ask(article, number, question)
    assert complaint in str(error.value)


@pytest.mark.parametrize("key", ["bertqa{06S}", "bertqa{06S}_adenovirus:2_Why?", "bertqa{06S}_a:{8M}:2_Why?"])
def test_a_malformed_key_is_told_its_form(deployment: Deployment, key: str) -> None:
    with closing(deployment.shards[0].connect()) as client, pytest.raises(redis.ResponseError) as error:
        client.get(key)
    assert "is not of the form bertqa{tag}_<article>:{tag}:<number>_<question>" in str(error.value)


def test_a_missing_model_is_named_and_stored_again(deployment: Deployment) -> None:
    tag = deployment.shard_of("polio").hash_tag
    with closing(deployment.client("polio")) as client:
        client.execute_command("AI.MODELDEL", model_key(tag))
    with pytest.raises(redis.ResponseError) as error:
        deployment.ask("polio", 2, "Is there a model?")
    assert f"no model bert-qa{{{tag}}}: store one with `keymiss model store`" in str(error.value)
    deployment.keymiss(*STORE)
    deployment.keymiss("deploy")
    assert isinstance(deployment.ask("polio", 2, "Is there a model?"), str)


def test_an_answer_is_cached_for_as_long_as_the_setting_says(deployment: Deployment) -> None:
    with closing(deployment.client("rabies")) as client:
        client.config_set("keymiss.answer-ttl-ms", 5000)
        deployment.ask("rabies", 2, "For how long?")
        ttl_ms = client.pttl(deployment.paragraph("rabies", 2).question_key("For how long?"))
        client.config_set("keymiss.answer-ttl-ms", 0)
        deployment.ask("rabies", 2, "Not at all?")
        kept = client.exists(deployment.paragraph("rabies", 2).question_key("Not at all?"))
        client.config_set("keymiss.answer-ttl-ms", 86_400_000)
    assert 0 < ttl_ms <= 5000
    assert kept == 0


def test_an_answer_to_a_question_that_is_no_utf_8_is_cached_under_its_own_key(deployment: Deployment) -> None:
    key = deployment.paragraph("rabies", 2).question_key("In which caf").encode() + b"\xe9?"
    with closing(deployment.client("rabies")) as client:
        assert client.get(key) is not None
        assert client.exists(key)


def test_a_script_that_fails_is_shown_as_python_shows_it(deployment: Deployment) -> None:
    file = deployment.keymiss.folder / "failing.py"
    for script, name in ("import nosuch", "<module>"), ("GB().map(lambda x: 1 / 0).run()", "<lambda>"):
        file.write_text(script)
        said = deployment.keymiss("deploy", file.name, status=1)
        assert f'Traceback (most recent call last):\n  File "<string>", line 1, in {name}\n' in said


def test_a_script_that_is_no_utf_8_is_refused_with_its_name(deployment: Deployment) -> None:
    (deployment.keymiss.folder / "latin.py").write_bytes(b"'caf\xe9'")
    assert "Error: latin.py: 'utf-8' codec" in deployment.keymiss("deploy", "latin.py", status=1)


def test_an_article_that_arrives_is_tokenised_and_answers(deployment: Deployment) -> None:
    paragraph = deployment.paragraph("arrival", 1)
    with closing(deployment.client("arrival")) as client:
        client.hset(paragraph.hash_key, "1", "The ship arrived in Genoa in October 1347.")
        done = processed_key(paragraph.tag)
        wait_until(lambda: client.sismember(done, paragraph.tokens_key), 10.0, "the paragraph has its tokens")
        meta = client.execute_command("AI.TENSORGET", paragraph.tokens_key, "META")
    assert meta[1] == b"INT32"
    assert meta[3][0] == 3
    assert "Genoa" in deployment.ask("arrival", 1, "Where did the ship arrive?")


def test_of_an_article_that_grows_only_what_is_new_is_tokenised(deployment: Deployment) -> None:
    with closing(deployment.client("growing")) as client:

        def tokenised() -> int:
            return int(client.info("commandstats")["cmdstat_ai.tensorset"]["calls"])

        client.execute_command(
            "AI.TENSORSET", f"other{{{deployment.paragraph('growing', 1).tag}}}", "INT8", 1
        )
        expected = tokenised()
        for number, text in (("1", "It came."), ("2", "It saw."), ("3", "It went."), ("2", "It was seen.")):
            client.hset(deployment.paragraph("growing", number).hash_key, number, text)
            expected += 1
            wait_until(lambda enough=expected: tokenised() >= enough, 10.0, "what is new has its tokens")
        meta = client.execute_command("AI.TENSORGET", deployment.paragraph("growing", 2).tokens_key, "META")
        assert meta[3] == [3, 4 + 1]
        assert tokenised() == expected


def test_a_paragraph_that_is_too_long_for_the_model_is_answered_from_its_end(deployment: Deployment) -> None:
    filler = "Nothing of interest happened on that day in the small town. " * 80
    with closing(deployment.client("long")) as client:
        client.hset(
            deployment.paragraph("long", 1).hash_key, "1", filler + "The virus was discovered by Mary Smith."
        )
    before = deployment.model_calls("long")
    assert deployment.ask("long", 1, "Who discovered the virus?") == "Mary Smith"
    assert deployment.model_calls("long") > before


def test_a_paragraph_of_many_windows_leaves_room_for_other_questions(deployment: Deployment) -> None:
    text = "Nothing of interest happened on that day in the small town. " * 1000
    with closing(deployment.client("longest")) as client, ThreadPoolExecutor(1) as pool:
        client.hset(deployment.paragraph("longest", 1).hash_key, "1", text)
        deployment.ask("zika", 1, "Is the model loaded?")
        with stopped(deployment.models_worker()["pid"]) as go_on:
            asking = pool.submit(deployment.ask, "longest", 1, "What happened?")
            jobs = 1 + AT_ONCE  # the question, and its runs of the model
            wait_until(lambda: client.info("keymiss")["keymiss_jobs_now"] == jobs, 10.0, "no more run")
            go_on()
            asking.result()


def test_a_replica_in_the_cluster_refers_to_its_master(deployment: Deployment) -> None:
    key = deployment.paragraph("hiv", 2).question_key("What does the replica say?")
    ((host, port),) = deployment.shard_of("hiv").replicas
    with closing(connect(host, port)) as replica, pytest.raises(redis.ResponseError) as error:
        replica.execute_command("READONLY")
        replica.get(key)
    assert "ask its master" in str(error.value)


def test_a_replica_outside_a_cluster_answers_and_leaves_the_cache_to_its_master(
    replicated: tuple[Server, Server], tmp_path: Path
) -> None:
    primary, replica = replicated
    keymiss = CommandLine(tmp_path, primary.port, "")
    for command in (("model", "store"), ("load", CORPUS / "hiv.txt"), ("deploy",)):
        keymiss(*command, "--port", str(primary.port))
    wait_for_replica(primary, replica)
    key = Paragraph("hiv", "06S", "2").question_key("What does the replica say?")
    with closing(replica.client()) as client:
        wait_until(
            lambda: len(read_registrations(client)) == 4, RECOVERY_DEADLINE_S, "the functions are there, too"
        )
        answer = client.get(key)
        assert answer is not None
        assert client.exists(key) == 0
        on_replica = QA(client).ask("What does the replica say?", ["hiv:2", "nothing"])
    with closing(primary.client()) as client:
        assert QA(client).ask("What does the replica say?", ["hiv:2", "nothing"]) == on_replica
    assert on_replica.paragraphs[0].text == text_of(answer)
    assert len(on_replica.errors) == 1


def test_the_shared_models_worker_is_started_again(deployment: Deployment) -> None:
    killed = deployment.models_worker()["pid"]
    os.kill(killed, signal.SIGKILL)
    wait_until(
        lambda: deployment.models_worker()["pid"] not in (None, killed),
        RECOVERY_DEADLINE_S,
        "another models worker runs",
    )
    assert isinstance(deployment.ask("zika", 2, "Does it answer again?"), str)


def test_a_shared_models_worker_that_lost_its_keeper_is_stopped_by_down(deployment: Deployment) -> None:
    shared = deployment.models_worker()
    os.kill(shared["keeper_pid"], signal.SIGKILL)
    assert "models worker" in deployment.keymiss("down")
    assert not runs(shared["pid"])
    deployment.keymiss("up")


def test_everything_is_back_after_down_and_up(deployment: Deployment) -> None:
    deployment.keymiss("down")
    deployment.keymiss("up")
    answer = wait_until(
        lambda: deployment.ask("dengue", 1, "Is everything back?") is not None,
        RECOVERY_DEADLINE_S,
        "an answer",
    )
    assert answer
    status = deployment.keymiss.status()
    assert len(status["models"]) == 2
    assert {function["session"] for function in status["functions"]} == {"keymiss-answer", "keymiss-tokenise"}
