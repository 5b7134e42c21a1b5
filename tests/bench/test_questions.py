"""The benchmarks of models that answer questions, and what they stand on. Never how fast anything is."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
from itertools import takewhile
from pathlib import Path

import pytest
from keymiss_deploy.bench import workload
from keymiss_deploy.bench.answered import Asking
from keymiss_deploy.bench.generator import SEED, Target, generating
from keymiss_deploy.bench.peers.environments import PeerUnavailable
from keymiss_deploy.bench.peers.hosting import hosted
from keymiss_deploy.bench.peers.servers import Peer
from keymiss_deploy.bench.protocols import Failed, of_http, of_resp
from support.benchmarks import run_quickly
from support.server import KINDS, Server, available_kinds

CLIENTS = [1, 4, 8, 16, 32, 64]
PNG = b"\x89PNG"


def _on_one_server() -> list[str]:
    """Models take their time, and do not depend on the server. This one is exported for other tests, too."""
    return ["--server", KINDS[available_kinds()[0]], "--backend", "torch", "--precision", "fp32"]


@pytest.mark.slow
def test_questions_are_answered_as_by_the_original_method_and_measured_beside_it(tmp_path: Path) -> None:
    run = run_quickly("qa", tmp_path, *_on_one_server(), "--json")
    result = run.result
    assert json.loads(run.printed) == result
    rows = {(row["who answers"], row["clients"]): row for row in result["rows"]}
    assert [clients for who, clients in rows if who == "Keymiss"] == CLIENTS
    assert {
        ("called directly", 1),
        ("its model alone", 1),
        ("original method", 1),
        ("original method", 16),
    } < set(rows)
    for row in rows.values():
        assert row["questions/s"] > 0
        assert 0 < row["p50 ms"] <= row["p95 ms"] <= row["p99 ms"]
    assert rows["Keymiss", 64]["p50 ms"] > rows["Keymiss", 1]["p50 ms"]  # they wait for each other
    assert rows["Keymiss", 1]["F1"] > 80  # of the corpus that comes with Keymiss
    assert result["f1_delta"] == pytest.approx(rows["Keymiss", 1]["F1"] - rows["original method", 1]["F1"])
    assert abs(result["f1_delta"]) < 0.5
    ratio = rows["Keymiss", 16]["questions/s"] / rows["original method", 16]["questions/s"]
    assert result["speedup_over_original_at_16_clients"] == pytest.approx(ratio)
    assert {"model", "questions", "load generator", "allocator of models"} <= set(result["conditions"])
    assert len(result["promises"]) == 3


@pytest.mark.slow
def test_the_command_of_the_article_makes_a_model_call_for_each_request_that_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KEYMISS_HOST", "KEYMISS_PASSWORD"):
        monkeypatch.setenv(name, "of-a-cluster-that-is-not-measured")
    run = run_quickly("redis-benchmark", tmp_path, *_on_one_server())
    rows = {(row["request"], row["clients"]): row for row in run.result["rows"]}
    for (request, clients), row in rows.items():
        missed = request == "GET that misses"
        assert row["samples"] >= (4 * clients if missed else 0)
        assert (row["ms a sample"] is not None and row["ms a sample"] > 0) == missed
    assert rows["GET of an answer that is there", 8]["requests/s"] > rows["GET that misses", 8]["requests/s"]
    assert "redis-benchmark -c" in run.result["conditions"]["command"]


@pytest.mark.slow
def test_the_sweep_fills_its_grid_and_draws_it(tmp_path: Path) -> None:
    run = run_quickly("client-sweep", tmp_path, *_on_one_server())
    assert [row["BATCHSIZE"] for row in run.result["rows"]] == [1, 8]
    assert all(row["1 client"] > 0 and row["8 clients"] > 0 for row in run.result["rows"])
    pytest.importorskip("matplotlib", reason="draws with matplotlib only")
    assert (tmp_path / "client-sweep.png").read_bytes().startswith(PNG)


@pytest.mark.slow
def test_without_a_gpu_the_processor_is_measured_and_the_reason_is_said(tmp_path: Path) -> None:
    run = run_quickly("gpu", tmp_path)
    rows = run.result["rows"]
    assert [row["batch"] for row in rows if row["device"] == "CPU"] == [1, 8]
    assert all(row["logits differ by"] < 0.05 for row in rows)
    left_out = [text for name, text in run.result["conditions"].items() if name.startswith("without ")]
    assert any(row["device"] == "GPU:0" for row in rows) or all(
        "GPU:0 requested but" in text for text in left_out
    )


def test_questions_of_the_corpus_differ_and_their_answers_stand_in_their_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KEYMISS_SHARED", raising=False)
    items = workload.items((), 120)
    assert len({(item.name, item.question) for item in items}) == 120
    assert all(gold in item.paragraph for item in items for gold in item.golds)
    lengths = sorted(len(item.paragraph) for item in items)
    assert lengths[-1] > 3 * lengths[0]


def test_too_few_questions_are_refused(tmp_path: Path) -> None:
    gold = {"text": "b", "answer_start": 2}
    paragraph = {"context": "a b c", "qas": [{"question": "What?", "answers": [gold]}]}
    file = tmp_path / "few.json"
    file.write_text(json.dumps({"data": [{"title": "few", "paragraphs": [paragraph]}]}))
    with pytest.raises(ValueError, match="too few"):
        workload.items([file], 100)


def test_each_question_is_asked_once_and_answers_keep_their_order(server: Server) -> None:
    names = [f"question:{n}" for n in range(50)]
    with server.client() as client, generating() as generator:
        client.mset({name: f"{name} answered" for name in names})
        answered = generator.ask_once(_gets(server, names), clients=8)
    assert answered.answers == [f"{name} answered" for name in names]
    assert len(answered.latencies_ms) == len(names)


def test_an_open_loop_asks_as_often_as_it_is_told_whatever_is_answered(server: Server) -> None:
    seconds, rate = 0.5, 300.0
    rng, due = random.Random(SEED), 0.0
    arrivals = list(
        takewhile(lambda at: at < seconds, (due := due + rng.expovariate(rate) for _ in range(1000)))
    )
    with generating() as generator:
        answered = generator.ask(_gets(server, ["nobody wrote this"]), Asking(seconds, rate=rate))
    assert len(answered.latencies_ms) == pytest.approx(len(arrivals), abs=1)  # times are added up otherwise


def test_an_error_in_place_of_an_answer_ends_the_measurement(server: Server) -> None:
    with server.client() as client, generating() as generator:
        client.lpush("list", "x")
        with pytest.raises(RuntimeError, match="WRONGTYPE"):
            generator.ask(_gets(server, ["list"]), Asking(1.0, clients=2))


def _gets(server: Server, names: list[str]) -> Target:
    return Target(server.port, "resp", [f"*2\r\n$3\r\nGET\r\n${len(n)}\r\n{n}\r\n".encode() for n in names])


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ],
)
def test_a_response_is_read_to_its_end_however_it_is_framed(framing: bytes) -> None:
    response = b"HTTP/1.1 200 OK\r\nServer: x\r\n" + framing
    assert of_http(response) == b"hello"
    assert all(of_http(response[:size]) is None for size in range(len(response)))


def test_a_response_that_is_no_answer_is_shown() -> None:
    with pytest.raises(Failed, match="404 not found: no such path"):
        of_http(b"HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\nno such path")


def test_a_bulk_string_is_read_to_its_end() -> None:
    reply = b"$5\r\nhe\r\n!\r\n"
    assert of_resp(reply) == b"he\r\n!"
    assert all(of_resp(reply[:size]) is None for size in range(len(reply)))
    assert of_resp(b"$-1\r\n") == b""


def test_a_server_that_goes_away_ends_the_measurement() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, generating() as generator:

        def hang_up() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"$5\r\nhe")

        gone = threading.Thread(target=hang_up)
        gone.start()
        with pytest.raises(RuntimeError, match="it ended the connection"):
            generator.ask(Target(listening.getsockname()[1], "resp", [b"x"]), Asking(1.0))
        gone.join()


SERVER = """
import json, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"answer": asked["context"][:4]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

# As some servers do: a process in a session of its own, which nobody who ends groups would find.
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Answer).serve_forever()
"""


@pytest.fixture
def items(monkeypatch: pytest.MonkeyPatch) -> list[workload.Item]:
    monkeypatch.delenv("KEYMISS_SHARED", raising=False)
    return workload.items((), workload.LEAST)


def test_a_peer_is_asked_and_gone_with_all_that_it_started(
    tmp_path: Path, items: list[workload.Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYMISS_TEST_PEER", str(tmp_path))  # everything that a peer starts inherits it
    program = tmp_path / "peer.py"
    program.write_text(SERVER)
    with hosted(Peer("test", "a server of a test", program, "test", ()), items, 1) as target:
        assert len(_started(tmp_path)) == 2
        with generating() as generator:
            answers = generator.ask_once(target, clients=1).answers
    assert answers == [item.paragraph[:4] for item in items]
    assert not _started(tmp_path)


def _started(folder: Path) -> list[str]:
    """Living processes of the peer of the test with this folder."""
    wanted, found = f"KEYMISS_TEST_PEER={folder}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(process.name)
    return found


def test_a_peer_that_cannot_be_installed_or_started_says_why(
    tmp_path: Path, items: list[workload.Item]
) -> None:
    missing = str(tmp_path / "no_such_package-1-py3-none-any.whl")
    with (
        pytest.raises(PeerUnavailable, match="no_such_package"),
        hosted(Peer("test", "a server of a test", tmp_path / "x.py", "test", (missing,)), items, 1),
    ):
        pass
    program = tmp_path / "ends.py"
    program.write_text("raise SystemExit('this is why')")
    with (
        pytest.raises(PeerUnavailable, match="this is why"),
        hosted(Peer("test", "a server of a test", program, "test", ()), items, 1),
    ):
        pass
