"""The hook is no way around ACLs: whoever may not run a command may not run it through its hook either."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError
from support.functions import answering_misses, register
from support.server import Server

As = Callable[..., redis.Redis]


@pytest.fixture(autouse=True)
def answering(client: redis.Redis) -> None:
    register(client, answering_misses("m:"))
    register(client, "GB('CommandReader').map(lambda x: 'hooked').register(hook='strlen', mode='sync')")


def test_who_may_run_the_command_and_the_hook_is_answered(as_user: As) -> None:
    assert as_user("~*", "+get", "+keymiss.hook").get("m:1") == b"answer for m:1"


def test_the_right_to_the_hook_is_no_right_to_the_command(as_user: As) -> None:
    someone = as_user("~*", "+keymiss.hook")
    for command in (["GET", "m:1"], ["KEYMISS.HOOK", "GET", "m:1"], ["STRLEN", "x"]):
        with pytest.raises(NoPermissionError):
            someone.execute_command(*command)


def test_the_right_to_the_command_alone_is_refused_by_name(as_user: As) -> None:
    """Documented: users of hooked commands need keymiss.hook, too."""
    with pytest.raises(NoPermissionError, match=r"keymiss\.hook"):
        as_user("~*", "+get").get("m:1")


def test_key_patterns_hold_through_the_hook(as_user: As) -> None:
    someone = as_user("~m:mine:*", "+get", "+strlen", "+keymiss.hook")
    assert someone.get("m:mine:1") == b"answer for m:mine:1"
    with pytest.raises(NoPermissionError):
        someone.get("m:yours:1")
    with pytest.raises(NoPermissionError):
        someone.execute_command("KEYMISS.HOOK", "GET", "m:yours:1")
    with pytest.raises(NoPermissionError):
        someone.strlen("m:yours:1")


def test_in_a_script_too(as_user: As) -> None:
    someone = as_user("~*", "+eval", "+keymiss.hook")
    with pytest.raises(redis.ResponseError, match=r"(?i)permission|NOPERM|can't run"):
        someone.eval("return redis.call('GET', 'm:1')", 0)


def test_read_only_patterns_hold_through_the_hook(as_user: As, client: redis.Redis) -> None:
    register(client, "GB().map(lambda r: 0).register(prefix='w:*', commands=['set'], mode='async_local')")
    with pytest.raises(NoPermissionError):
        as_user("%R~w:*", "+set", "+keymiss.hookw").set("w:1", "v")
    assert not client.exists("w:1")


@pytest.mark.parametrize(
    "command",
    [
        ["KEYMISS.HOOK", "SET", "a", "b"],
        ["KEYMISS.HOOK", "FLUSHALL"],
        ["KEYMISS.HOOKW", "CONFIG", "SET", "maxmemory", "1"],
        ["KEYMISS.HOOKW", "SHUTDOWN", "NOSAVE"],
        ["KEYMISS.HOOKW", "MULTI"],
        ["KEYMISS.HOOK", "SUBSCRIBE", "channel"],
        ["KEYMISS.HOOK", "NOSUCHCOMMAND"],
        ["KEYMISS.HOOK", ""],
        ["KEYMISS.HOOK", b"GE\x00T", "k"],
        ["KEYMISS.HOOK"],
        ["KEYMISS.HOOKW"],
        ["KEYMISS.HOOKW", "KEYMISS.HOOKW", "KEYMISS.HOOKW", "KEYMISS.REGISTRATION", "DEL", "x"],
        ["KEYMISS.HOOK", "keymiss.hook", "GET", "k"],
        ["KEYMISS.REGISTRATION", "DEL", "x"],
        ["KEYMISS.REGISTRATION", "SET", "x", "", "keys", "sync", "", "*", "0", "0", "0"],
        ["KEYMISS.REGISTRATION"],
    ],
    ids=lambda command: b" ".join(c if isinstance(c, bytes) else c.encode() for c in command).decode(
        errors="replace"
    ),
)
def test_the_hooks_run_by_name_do_no_more_than_a_script_could(
    client: redis.Redis, command: list[Any]
) -> None:
    with pytest.raises(redis.ResponseError):
        client.execute_command(*command)
    assert not client.exists("a")


@pytest.mark.parametrize("command", ["GEORADIUS", "PUBLISH", "SORT_RO"])
def test_who_may_not_run_a_command_is_told_so_with_too_few_arguments(
    client: redis.Redis, as_user: As, command: str
) -> None:
    """To look for its keys would be to read behind the arguments."""
    hook = f"hook='{command.lower()}', mode='async_local'"
    register(client, f"GB('CommandReader').map(lambda x: 'hooked').register({hook})")
    for rights in (["~m:*", "+@all"], ["~*", "&*", "+keymiss.hook", "+keymiss.hookw"]):
        someone = as_user(*rights)
        with pytest.raises(NoPermissionError):
            someone.execute_command(command)
    assert as_user("~*", "&*", "+@all").execute_command(command) == b"hooked"


@pytest.mark.parametrize("name", ["KEYMISS.HOOK", "keymiss.hookw"])
def test_hooks_inside_each_other_are_refused_before_they_fill_the_stack(as_user: As, name: str) -> None:
    someone = as_user("~*", "+command", "+get", "+keymiss.hook", "+keymiss.hookw")
    nested = [*[name] * 30_000, "GET", "k"]
    with pytest.raises(redis.ResponseError, match="a hook runs no other hook"):
        someone.execute_command(*nested)
    with pytest.raises(redis.ResponseError, match="Invalid arguments"):
        someone.command_getkeys(*nested)
    assert someone.command_getkeys(name, "GET", "k") == ["k"]


def test_a_read_only_replica_writes_nothing_through_the_hook(replicated: tuple[Server, Server]) -> None:
    with contextlib.closing(replicated[1].client()) as replica:
        for command in ("KEYMISS.HOOK", "KEYMISS.HOOKW"):
            with pytest.raises(redis.ResponseError):
                replica.execute_command(command, "SET", "a", "b")
        assert not replica.exists("a")
