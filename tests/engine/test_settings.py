"""keymiss.* are settings of the server like any other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import redis
from support.server import Server
from support.waiting import wait_until


def test_settings_come_from_the_configuration_file_and_are_written_back(
    make_server: Callable[..., Server],
) -> None:
    server = make_server(settings={"keymiss.max-jobs": 77, "keymiss.models": "unix:/run/models.sock"})
    with contextlib.closing(server.client(decode_responses=True)) as client:
        assert client.config_get("keymiss.max-jobs") == {"keymiss.max-jobs": "77"}
        client.config_set("keymiss.max-jobs", 88)
        client.config_set("keymiss.max-channel-bytes", "64mb")
        client.config_rewrite()
    written = (server.folder / "server.conf").read_text().splitlines()
    assert "keymiss.max-jobs 88" in written
    assert "keymiss.max-channel-bytes 64mb" in written
    assert 'keymiss.models "unix:/run/models.sock"' in written


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("models", "tcp:1.2.3.4"),
        ("models", "unix:"),
        ("models", "unix:/" + "x" * 200),
        ("max-jobs", 0),
        ("max-jobs", "many"),
        ("hang-timeout-ms", -1),
        ("max-frame-bytes", "3gb"),
        ("log-level", "loud"),
        ("models-threads", 99999),
        ("metrics-port", 65536),
        ("metrics-port", -1),
        ("models-metrics-port", 65536),
        ("metrics-address", "localhost"),
        ("metrics-address", "256.0.0.1"),
        ("metrics-address", ""),
        ("shard-name", "shard 1"),
        ("shard-name", 'shard"1'),
        ("shard-name", "x" * 65),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(client: redis.Redis, name: str, value: str | int) -> None:
    before = client.config_get(f"keymiss.{name}")
    with pytest.raises(redis.ResponseError, match=f"keymiss.{name}"):
        client.config_set(f"keymiss.{name}", value)
    assert client.config_get(f"keymiss.{name}") == before


@pytest.mark.parametrize("name", ["python", "models-dir"])
def test_what_names_a_program_or_a_folder_is_protected(client: redis.Redis, name: str) -> None:
    with pytest.raises(redis.ResponseError, match="protected"):
        client.config_set(f"keymiss.{name}", "/somewhere")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"keymiss.models": "nonsense"}, "a keymiss.* setting was refused"),
        ({"keymiss.max-jobs": "0"}, "a keymiss.* setting was refused"),
    ],
)
def test_a_server_with_a_wrong_setting_says_so_and_does_not_start(
    make_server: Callable[..., Server], settings: dict[str, object], line: str
) -> None:
    server = make_server(settings=settings, start=False)
    with pytest.raises(AssertionError, match="ended while starting"):
        server.start()
    wait_until(lambda: line in server.log, 5.0, "the log says so")
