"""Calls that are wrong in a known way get one error each, and the server goes on.

The RG.* commands and what concerns all commands; those of AI.* alone are in `tests/ai`.
"""

from __future__ import annotations

import pytest
import redis
from support.functions import answering_misses, register

Call = tuple[str | bytes, ...]

ARITY: list[Call] = [
    ("RG.PYEXECUTE",),
    ("RG.UNREGISTER",),
    ("RG.UNREGISTER", "id", "abortpending", "more"),
    ("AI.TENSORSET",),
    ("AI.TENSORSET", "key"),
    ("AI.TENSORGET",),
    ("AI.MODELSTORE", "key"),
    ("AI.MODELSET", "key"),
    ("AI.MODELGET",),
    ("AI.MODELDEL",),
    ("AI.MODELDEL", "key", "more"),
    ("AI.MODELEXECUTE", "key"),
    ("AI.MODELRUN", "key"),
    ("AI.SCRIPTSTORE", "key"),
    ("AI.SCRIPTSET", "key"),
    ("AI.SCRIPTGET",),
    ("AI.SCRIPTDEL",),
    ("AI.SCRIPTDEL", "key", "more"),
    ("AI.SCRIPTEXECUTE", "key", "f"),
    ("AI.SCRIPTRUN", "key"),
    ("AI.DAGEXECUTE",),
    ("AI.DAGEXECUTE_RO", "LOAD", "1"),
    ("AI.DAGRUN", "|>"),
    ("AI.DAGRUN_RO",),
]

WRONG: list[Call] = [
    ("RG.PYEXECUTE", "1", "NONSENSE"),
    ("RG.PYEXECUTE", "1", "ID"),
    ("RG.PYEXECUTE", "1", "ID", "not a name!"),
    ("RG.PYEXECUTE", "this is no python"),
    ("RG.PYEXECUTE", "'\x00'"),
    ("RG.PYEXECUTE", b"\xff\xfe\x00\x80"),
    ("RG.PYEXECUTE", "(" * 5000),
    ("RG.PYEXECUTE", "def f():\n    return f()\nf()"),
    ("RG.PYEXECUTE", "raise SystemExit"),
    ("RG.PYEXECUTE", "raise KeyboardInterrupt"),
    ("RG.PYEXECUTE", "raise BaseException('base')"),
    ("RG.PYEXECUTE", "raise Exception('line one\\r\\nline two')"),
    ("RG.PYEXECUTE", "raise Exception('\\ud800')"),
    ("RG.PYEXECUTE", "GB().register(prefix=1)"),
    ("RG.PYEXECUTE", "GB('KeysReader').register(prefix='a*', mode='nonsense')"),
    ("RG.PYEXECUTE", "GB('KeysReader').register(prefix='a*', commands=['no-such-command'])"),
    ("RG.PYEXECUTE", "GB('NoSuchReader').run()"),
    ("RG.PYEXECUTE", "execute('NO.SUCH.COMMAND')"),
    ("RG.UNREGISTER", "no such id"),
    ("RG.UNREGISTER", ""),
    ("RG.UNREGISTER", b"\x00\xff\r\n"),
    ("RG.UNREGISTER", "0" * 100_000),
    ("RG.UNREGISTER", "0000000000000000000000000000000000000000-99999999999999999999"),
]


def _title(call: Call) -> str:
    return " ".join(repr(part)[:40] for part in call)


@pytest.mark.parametrize("call", ARITY + WRONG, ids=_title)
def test_it_is_answered_by_an_error_and_the_connection_stays_in_step(client: redis.Redis, call: Call) -> None:
    with pytest.raises(redis.ResponseError):
        client.execute_command(*call)
    assert client.echo("in step") == b"in step"


# RG.DUMPREGISTRATIONS and RG.PYSTATS take no arguments and, as the original did, mind none.
NAMES = ["RG.PYEXECUTE", "RG.UNREGISTER", "AI.TENSORSET", "AI.TENSORGET", "AI.MODELSTORE", "AI.MODELSET"]
NAMES += ["AI.MODELGET", "AI.MODELDEL", "AI.MODELEXECUTE", "AI.MODELRUN", "AI.INFO", "AI.CONFIG"]
NAMES += ["AI.SCRIPTSTORE", "AI.SCRIPTSET", "AI.SCRIPTGET", "AI.SCRIPTDEL", "AI.SCRIPTEXECUTE"]
NAMES += ["AI.SCRIPTRUN", "AI.DAGEXECUTE", "AI.DAGEXECUTE_RO", "AI.DAGRUN", "AI.DAGRUN_RO"]


@pytest.mark.parametrize("name", NAMES)
def test_ten_thousand_arguments_are_answered(client: redis.Redis, name: str) -> None:
    with pytest.raises(redis.ResponseError):
        client.execute_command(name, *["x"] * 10_000)
    assert client.ping()


@pytest.mark.parametrize("name", NAMES)
def test_ten_megabytes_in_one_argument_are_answered(client: redis.Redis, name: str) -> None:
    with pytest.raises(redis.ResponseError):
        client.execute_command(name, "x" * 10_000_000, "y", "z")
    assert client.ping()


@pytest.mark.parametrize(
    "key",
    [b"", b"\x00", b"\xff\xfe", b"a\r\nb", b"{", b"}", b"{}", b"x" * 100_000],
    ids=lambda key: repr(key)[:20],
)
def test_any_key_can_be_asked_for(client: redis.Redis, key: bytes) -> None:
    """Keys are bytes: those that are no text reach the function too."""
    register(client, answering_misses("q:", "    override_reply(str(len(record['key'])))\n"))
    assert client.get(b"q:" + key) is not None
    assert client.get(key) is None


@pytest.mark.parametrize(
    "value", ["2 ** 70", "object()", "'\\ud800'", "float('nan')", "[[[]]] * 1000", "b'\\xff'", "{1: {2: 3}}"]
)
def test_any_override_is_answered(client: redis.Redis, value: str) -> None:
    """By the value or by an error, whatever the function gives."""
    register(client, answering_misses("q:", f"    override_reply({value})\n"))
    try:
        client.get("q:1")
    except redis.ResponseError as error:
        assert "timed out" not in str(error).lower()
    assert client.echo("in step") == b"in step"


def test_a_reply_nested_too_deeply_is_not_given(client: redis.Redis) -> None:
    """The function fails, and the client gets the command's own reply."""
    body = "    value = 'x'\n    for _ in range(500):\n        value = [value]\n    override_reply(value)\n"
    register(client, answering_misses("q:", body))
    assert client.get("q:1") is None
    (registration,) = client.execute_command("RG.DUMPREGISTRATIONS")
    counts = dict(zip(registration[7][::2], registration[7][1::2], strict=True))
    assert (counts[b"numSuccess"], counts[b"numFailures"]) == (0, 1)


def test_blocking_commands_inside_a_function_are_refused_or_answered(client: redis.Redis) -> None:
    for command in (
        "'BLPOP', 'list', '0'",
        "'WAIT', '1', '0'",
        "'SUBSCRIBE', 'channel'",
        "'MONITOR'",
        "'MULTI'",
    ):
        try:
            client.execute_command("RG.PYEXECUTE", f"execute({command})")
        except redis.ResponseError as error:
            assert "timed out" not in str(error).lower(), command
        assert client.ping()
