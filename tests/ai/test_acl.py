"""Nobody reaches a key of others through AI.*; the rights to a key say which commands may use it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError, ResponseError
from support import torch_models, torch_scripts
from support.server import Server

As = Callable[..., redis.Redis]

OLD_SOURCE = "def same(a):\n    return a\n"
SOURCE = torch_scripts.source("same", "return tensors[0]")
# Each `mine:` is a key: `m` a model, `s` and `old` scripts, `t` a tensor; `o` and `r` hold nothing.
COMMANDS = [
    "AI.TENSORSET mine:o FLOAT 1 VALUES 1",
    "AI.TENSORGET mine:t",
    "AI.MODELSTORE mine:o TORCH CPU BLOB <model>",
    "AI.MODELSET mine:o TORCH CPU BLOB <model>",
    "AI.MODELGET mine:m META",
    "AI.MODELDEL mine:m",
    "AI.MODELEXECUTE mine:m INPUTS 1 mine:t OUTPUTS 1 mine:o",
    "AI.MODELRUN mine:m INPUTS mine:t OUTPUTS mine:o",
    "AI.SCRIPTSTORE mine:o CPU ENTRY_POINTS 1 same SOURCE <source>",
    "AI.SCRIPTSET mine:o CPU SOURCE <old_source>",
    "AI.SCRIPTGET mine:s",
    "AI.SCRIPTDEL mine:s",
    "AI.SCRIPTEXECUTE mine:s same KEYS 1 mine:k INPUTS 1 mine:t OUTPUTS 1 mine:o",
    "AI.SCRIPTRUN mine:old same INPUTS mine:t OUTPUTS mine:o",
    "AI.DAGEXECUTE LOAD 1 mine:t PERSIST 1 mine:o |> AI.MODELEXECUTE mine:m INPUTS 1 mine:t OUTPUTS 1 mine:o",
    "AI.DAGEXECUTE ROUTING mine:r |> AI.TENSORSET x FLOAT 1 "
    "|> AI.SCRIPTEXECUTE mine:s same KEYS 1 mine:k INPUTS 1 x OUTPUTS 1 y",
    "AI.DAGEXECUTE_RO LOAD 1 mine:t |> AI.MODELEXECUTE mine:m INPUTS 1 mine:t OUTPUTS 1 y",
    "AI.DAGEXECUTE_RO ROUTING mine:r |> AI.TENSORSET x FLOAT 1",
    "AI.DAGRUN LOAD 1 mine:t PERSIST 1 mine:o |> AI.MODELRUN mine:m INPUTS mine:t OUTPUTS mine:o",
    "AI.DAGRUN LOAD 1 mine:t |> AI.SCRIPTRUN mine:old same INPUTS mine:t OUTPUTS y",
    "AI.DAGRUN_RO LOAD 1 mine:t |> AI.MODELRUN mine:m INPUTS mine:t OUTPUTS y",
    "AI.INFO mine:m",
    "AI.INFO mine:s RESETSTAT",
]
FOREIGN = [f"other:{name}" for name in ("m", "s", "old", "t", "k")]


def store_all(client: redis.Redis, whose: str) -> None:
    torch_models.store(client, f"{whose}:m", torch_models.doubler())
    torch_models.set_tensor(client, f"{whose}:t", 1)
    client.execute_command("AI.SCRIPTSTORE", f"{whose}:s", "CPU", "ENTRY_POINTS", 1, "same", "SOURCE", SOURCE)
    client.execute_command("AI.SCRIPTSET", f"{whose}:old", "CPU", "SOURCE", OLD_SOURCE)
    client.set(f"{whose}:k", "secret")


def words_of(command: str) -> list[Any]:
    """The command's words; a name in <> stands for what it names."""
    named = {"<model>": torch_models.doubler(), "<source>": SOURCE, "<old_source>": OLD_SOURCE}
    return [named.get(word, word) for word in command.split()]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_key_of_a_command_must_be_ones_own(client: redis.Redis, as_user: As, command: str) -> None:
    store_all(client, "mine")
    store_all(client, "other")
    before = client.execute_command("DEBUG", "DIGEST-VALUE", *FOREIGN)
    someone = as_user("~mine:*", "+@all")
    words = words_of(command)
    keys = [word for word in words if isinstance(word, str) and word.startswith("mine:")]
    for key in keys:
        foreign = key.replace("mine:", "other:")
        with pytest.raises(NoPermissionError):
            someone.execute_command(*(foreign if word == key else word for word in words))
        assert client.acl_log(1)[0]["object"] == foreign
    someone.execute_command(*words)  # what is one's own is allowed
    assert client.execute_command("DEBUG", "DIGEST-VALUE", *FOREIGN) == before
    assert client.exists("other:o", "other:r") == 0


@pytest.mark.parametrize(
    "body",
    ["redis.execute('GET', 'other:k')", "redis.execute('AI.TENSORGET', 'other:t', 'VALUES')"],
)
def test_a_script_runs_commands_with_the_rights_of_who_runs_it(
    client: redis.Redis, as_user: As, body: str
) -> None:
    store_all(client, "other")
    torch_scripts.store(client, "mine:s", "f", body, "return torch.tensor([1])")
    someone = as_user("~mine:*", "+@all")
    with pytest.raises(ResponseError, match=r"(?i)permission"):
        torch_scripts.execute(someone, "mine:s f KEYS 1 mine:k OUTPUTS 1 mine:o")
    assert torch_scripts.execute(client, "mine:s f KEYS 1 mine:k OUTPUTS 1 mine:o") == b"OK"


def test_a_script_runs_no_model_of_others(client: redis.Redis, as_user: As) -> None:
    store_all(client, "other")
    store_all(client, "mine")
    torch_scripts.store(client, "mine:s", "f", "return redisAI.model_execute(args[0], tensors, 1)[0]")
    someone = as_user("~mine:*", "+@all")
    words = "mine:s f INPUTS 1 mine:t ARGS 1 {} OUTPUTS 1 mine:o"
    assert torch_scripts.execute(someone, words.format("mine:m")) == b"OK"
    with pytest.raises(ResponseError, match=r"(?i)permission"):
        torch_scripts.execute(someone, words.format("other:m"))


@pytest.mark.parametrize("way", ["EVAL", "MULTI"])
def test_keys_are_checked_inside_scripts_and_transactions(client: redis.Redis, as_user: As, way: str) -> None:
    store_all(client, "other")
    someone = as_user("~mine:*", "+@all")
    if way == "EVAL":
        with pytest.raises(ResponseError, match=r"(?i)permission|can't access"):
            someone.eval("return redis.call('AI.TENSORGET', 'other:t')", 0)
    else:
        with contextlib.ExitStack() as stack:
            pipe = stack.enter_context(someone.pipeline(transaction=True))
            pipe.execute_command("AI.TENSORGET", "other:t")
            with pytest.raises((NoPermissionError, ResponseError)):
                pipe.execute()


def test_others_models_and_scripts_are_not_listed(client: redis.Redis, as_user: As) -> None:
    """Their tags are part of them."""
    store_all(client, "mine")
    store_all(client, "other")
    someone = as_user("~mine:*", "+@all")
    assert someone.execute_command("AI._MODELSCAN") == [[b"mine:m", b""]]
    assert sorted(someone.execute_command("AI._SCRIPTSCAN")) == [[b"mine:old", b""], [b"mine:s", b""]]
    assert len(client.execute_command("AI._SCRIPTSCAN")) == 4


def test_who_lists_models_is_not_logged_as_denied_something(client: redis.Redis, as_user: As) -> None:
    client.acl_log_reset()
    assert as_user("~*", "+ai._modelscan").execute_command("AI._MODELSCAN") == []
    denied = {entry["object"] for entry in client.acl_log()}
    assert denied <= {"client|setinfo"}  # of redis-py itself, when it connects


READING = [
    "AI.TENSORGET t",
    "AI.MODELGET m META",
    "AI.SCRIPTGET s",
    "AI.INFO m",
    "AI.DAGEXECUTE_RO LOAD 1 t |> AI.MODELEXECUTE m INPUTS 1 t OUTPUTS 1 y",
]
WRITING = [
    "AI.TENSORSET t FLOAT 1",
    "AI.MODELSTORE m TORCH CPU BLOB <model>",
    "AI.SCRIPTSET s CPU SOURCE <old_source>",
    "AI.MODELDEL m",
    "AI.SCRIPTDEL s",
    "AI.DAGEXECUTE PERSIST 1 t |> AI.TENSORSET t FLOAT 1",
]


def test_who_may_only_read_a_key_reads_it(client: redis.Redis, as_user: As) -> None:
    torch_models.set_tensor(client, "t", 1)
    torch_models.store(client, "m", torch_models.doubler())
    torch_scripts.store(client, "s", "same", "return tensors[0]")
    someone = as_user("%R~*", "+@all")
    for command in READING:
        someone.execute_command(*words_of(command))
    for command in [*WRITING, "AI.MODELEXECUTE m INPUTS 1 t OUTPUTS 1 t"]:
        with pytest.raises(NoPermissionError):
            someone.execute_command(*words_of(command))


def test_who_may_only_write_a_key_writes_it(client: redis.Redis, as_user: As) -> None:
    someone = as_user("%W~*", "+@all")
    for command in WRITING:
        someone.execute_command(*words_of(command))
    for command in READING:
        with pytest.raises(NoPermissionError):
            someone.execute_command(*words_of(command))


def test_readers_and_writers_have_their_categories(make_server: Callable[..., Server]) -> None:
    """Where the settings say so. Modules can since Redis 7.2, and have categories of their own since 7.4."""
    server = make_server(settings={"keymiss.acl-categories": "yes"})
    with contextlib.closing(server.client()) as client:
        if server.kind == "redis":  # 7.0
            with pytest.raises(ResponseError, match="Unknown command or category name"):
                client.execute_command("ACL", "SETUSER", "reader", "+@ai")
            return
        client.execute_command("ACL", "SETUSER", "reader", "on", "nopass", "~*", "+@read")
        client.execute_command("ACL", "SETUSER", "named", "on", "nopass", "~*", "+@ai")
    with contextlib.closing(server.client(username="reader", password="")) as reader:
        assert reader.execute_command("AI._MODELSCAN") == []
        with pytest.raises(NoPermissionError):
            torch_models.set_tensor(reader, "t", 1)
    with contextlib.closing(server.client(username="named", password="")) as named:
        torch_models.set_tensor(named, "t", 1)
        assert named.execute_command("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE") > 0
        with pytest.raises(NoPermissionError):
            named.get("t")


def test_commands_are_in_no_category_as_with_redisai(client: redis.Redis, as_user: As) -> None:
    reader = as_user("~*", "+@read")
    with pytest.raises(NoPermissionError):
        reader.execute_command("AI._MODELSCAN")


def test_commands_say_what_they_do_to_their_keys(client: redis.Redis) -> None:
    asked = "COMMAND GETKEYSANDFLAGS"
    assert client.execute_command(asked, "AI.TENSORSET", "k", "FLOAT", 1) == [[b"k", [b"OW", b"update"]]]
    assert client.execute_command(asked, "AI.TENSORGET", "k") == [[b"k", [b"RO", b"access"]]]
    assert client.execute_command(asked, "AI.SCRIPTDEL", "k") == [[b"k", [b"RM", b"delete"]]]
    words = "AI.DAGEXECUTE", "LOAD", 1, "a", "PERSIST", 1, "b", "|>", "AI.TENSORGET", "a"
    assert client.execute_command(asked, *words) == [
        [b"a", [b"RO", b"access"]],
        [b"b", [b"OW", b"update"]],
    ]


def test_every_command_is_described(client: redis.Redis) -> None:
    names = client.execute_command("COMMAND LIST", "FILTERBY", "PATTERN", "ai.*")
    assert len(names) == 22
    docs = client.execute_command("COMMAND DOCS", *names)
    for name, told in zip(docs[::2], docs[1::2], strict=True):
        assert dict(zip(told[::2], told[1::2], strict=True))[b"summary"], name
