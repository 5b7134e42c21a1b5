"""The command line's own manners: help, version, and errors in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.ports import ports
from support.server import Server

import keymiss

PROGRAM = Path(sys.executable).with_name("keymiss")
COMMANDS = (
    "ask",
    "bench",
    "dashboards",
    "deploy",
    "doctor",
    "down",
    "form",
    "load",
    "model",
    "module",
    "status",
    "top",
    "trace",
    "up",
)


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, timeout=60)


def test_help_lists_every_command(tmp_path: Path) -> None:
    said = run("--help", folder=tmp_path).stdout
    listed = [line.split()[0] for line in said.partition("Commands:")[2].splitlines() if line.strip()]
    assert set(COMMANDS) <= set(listed)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(tmp_path: Path, command: str) -> None:
    done = run(command, "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Usage: keymiss" in done.stdout


def test_version_is_the_package_s(tmp_path: Path) -> None:
    assert keymiss.__version__ in run("--version", folder=tmp_path).stdout


def test_module_prints_a_file_that_may_be_executed(tmp_path: Path) -> None:
    path = Path(run("module", folder=tmp_path).stdout.strip())
    assert path.name == "keymiss.so"
    assert path.stat().st_mode & 0o111, "Redis 7 loads no module that may not be executed"


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (("nonsense",), 2, "No such command"),
        (("up", "--set", "maxmemory"), 2, "write it as NAME=VALUE"),
        (("up", "--set", "requirepass=secret"), 2, "requirepass: servers of `keymiss up` have no password"),
        (("up", "--set", "dir=/tmp"), 2, "each server has its own"),
        (("up", "--server", "no-such-server"), 1, "no program no-such-server"),
        (("up", "--port", "65533", "--plain"), 1, "65533 is too high for that"),
        (("status",), 1, "no cluster in"),
        (("status", "--port", "1"), 1, "no server answers on 127.0.0.1:1"),
        (("load", "corpus", "--port", "1"), 1, "onnect"),
        (("ask", "adenovirus:2", "Why?", "--port", "1"), 1, "onnect"),
        (("deploy", "no-such-file.py"), 2, "does not exist"),
        (("model", "store", "--backend", "paper"), 2, "torch"),
    ],
)
def test_a_wrong_call_is_told_in_words(
    tmp_path: Path, arguments: tuple[str, ...], status: int, complaint: str
) -> None:
    done = run(*arguments, folder=tmp_path)
    assert done.returncode == status
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [("up", "--plain"), ("status",), ("down",), ("dashboards", "--provision", "file/there")]
)
def test_a_folder_that_cannot_be_is_named(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / ".keymiss").mkdir()
    (tmp_path / ".keymiss" / "cluster.json").write_text('{"server": "redis-server"}')
    folder = ".keymiss" if arguments[0] == "dashboards" else "file/there"
    done = run(*arguments, "--dir", folder, folder=tmp_path)
    assert done.returncode == 1
    assert "file/there" in done.stderr
    assert "Not a directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / ".keymiss").mkdir()
    (tmp_path / ".keymiss" / "cluster.json.new").symlink_to("/dev/full")
    done = run("up", "--plain", "--port", str(ports.take_run(6)), folder=tmp_path)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_of_a_kind_is_told_in_the_singular(tmp_path: Path, server: Server) -> None:
    (tmp_path / "short.txt").write_text("It is short.")
    (tmp_path / "empty.py").write_text("")
    for arguments, told in (
        (("load", "short.txt"), "1 article, 1 sentence on 1 shard: 1 new"),
        (("deploy", "empty.py"), "Deployed empty to 1 shard."),
    ):
        assert told in run(*arguments, "--port", str(server.port), folder=tmp_path).stdout


def test_a_cluster_that_is_down_is_named_with_what_starts_it(tmp_path: Path) -> None:
    (tmp_path / ".keymiss").mkdir()
    (tmp_path / ".keymiss" / "cluster.json").write_text('{"port": 1, "shards": 1}')
    for command in (("ask", "a:1", "Why?"), ("load", "x"), ("deploy",), ("model", "store")):
        done = run(*command, folder=tmp_path)
        assert done.returncode == 1
        assert "127.0.0.1:1" in done.stderr
        assert f"`keymiss up` starts the cluster in {tmp_path}/.keymiss" in done.stderr


def test_what_has_to_be_done_first_is_told(tmp_path: Path, server: Server) -> None:
    (tmp_path / "short.txt").write_text("It is short. Or is it?")
    port = ("--port", str(server.port))
    many = ("ask", "Why?", "--of", "short")
    for command, status, first in (
        (many, 1, "`keymiss deploy` deploys them"),
        (("trace", "short:1", "Why?"), 1, "`keymiss deploy` deploys them"),
        (("load", "short.txt"), 0, "`keymiss model store`"),
        (("deploy",), 1, "`keymiss model store`"),
        (many, 1, "no paragraph could be asked: no tokenizer in tokenizer:bert-qa{06S}: store a model"),
    ):
        done = run(*command, *port, folder=tmp_path)
        said = done.stdout + done.stderr
        assert done.returncode == status, said
        assert said.count(first) == 1
        assert "finds no answer" not in said


def test_the_command_to_try_may_be_given_to_a_shell_as_it_is(tmp_path: Path, server: Server) -> None:
    """Here to one that shows what it understands."""
    text, question = "It was 5.", 'Was it "5 $HOME", or was it `id`\'s?'
    objects = {"article": "price", "text": text}, {"article": "price", "sentence": text, "question": question}
    (tmp_path / "price.jsonl").write_text("".join(json.dumps(one) + "\n" for one in objects))
    run("load", "price.jsonl", "--port", str(server.port), folder=tmp_path)
    said = run("status", "--port", str(server.port), folder=tmp_path).stdout
    _, found, command = said.partition("Try: ")
    assert found
    words = subprocess.run(["bash", "-c", f"printf '%s\n' {command}"], capture_output=True, text=True)
    assert words.stdout.splitlines()[-1] == f"bertqa{{06S}}_price:{{06S}}:1_{question}"


def test_names_are_shown_letter_by_letter(tmp_path: Path, server: Server) -> None:
    """None of them is an emoji, a colour, or a mistake in one."""
    article = '{"article": "a:pill:b[red][/c]", "text": "It is short."}\n'
    (tmp_path / "twice.jsonl").write_text(article + '{"article": "b", "text": "So."}\n' + article)
    port = ("--port", str(server.port))
    loaded = run("load", "twice.jsonl", *port, folder=tmp_path)
    assert "Skipped a second article named a:pill:b[red][/c]." in loaded.stdout
    nothing = run("down", "--dir", "x:pill:[red][/c]", folder=tmp_path)
    assert "x:pill:[red][/c]" in nothing.stdout.replace("\n", "")


def test_a_password_is_that_of_the_environment(
    tmp_path: Path, make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "short.txt").write_text("It is short.")
    server = make_server()
    commands = (("load", "short.txt"), ("status",), ("top", "--once"), ("doctor", "cluster"))
    with closing(server.client()) as client:
        client.execute_command("ACL", "SETUSER", "operator", "on", ">secret", "~*", "&*", "+@all")
        client.config_set("requirepass", "other")
        for command in commands:
            done = run(*command, "--port", str(server.port), folder=tmp_path)
            assert done.returncode == 1
            assert "KEYMISS_PASSWORD" in done.stdout + done.stderr or command[0] == "top"
        monkeypatch.setenv("KEYMISS_USER", "operator")
        monkeypatch.setenv("KEYMISS_PASSWORD", "secret")
        for command in commands:
            done = run(*command, "--port", str(server.port), folder=tmp_path)
            assert done.returncode == 0, done.stdout + done.stderr
        client.config_set("requirepass", "")


def test_a_damaged_state_file_is_named(tmp_path: Path) -> None:
    (tmp_path / ".keymiss").mkdir()
    (tmp_path / ".keymiss" / "cluster.json").write_text("{")
    for command in (("status",), ("up",), ("load", "x")):
        done = run(*command, folder=tmp_path)
        assert done.returncode == 1
        assert "cluster.json is damaged" in done.stderr
