"""Every panel that reads a shard through Grafana's Redis data source gets from it what the panel shows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from keymiss_deploy.grafana.queries import ShardQuery, panels, shard_queries
from support import tflite_models
from support.cluster import SLOTS
from support.functions import answering_misses, register
from support.paths import REPOSITORY
from support.redis_data_source import Frame, PluginError, ask
from support.server import Server, available_kinds, new_client
from support.waiting import wait_until
from support.wheels import make_wheel

QUERIES = {query.name: query for query in shard_queries()}
PANELS = {f"{dashboard} / {panel['title']}": panel for dashboard, panel in panels()}
FORM_DEADLINE_S = 15.0
DOCUMENTED = REPOSITORY / "docs" / "grafana.md"
KEY = "{m}model"
NOTING = "GB('KeysReader', desc='notes').foreach(lambda x: None).register(prefix='event:*')"
REQUIREMENTS = "Keymiss / Shard: Gears / Requirements"


@pytest.fixture(scope="module")
def shard(make_shared_server: Callable[..., Server]) -> Iterator[redis.Redis]:
    """A shard with what panels show: registrations, a model and a run of it, a miss."""
    server = make_shared_server(settings={"cluster-enabled": "yes", "slowlog-log-slower-than": 0})
    with closing(server.client()) as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        wait_until(
            lambda: _asked(client, "Keymiss / Shard / State").row(0)["cluster_state"] == "ok",
            FORM_DEADLINE_S,
            "the cluster of one shard serves all slots",
        )
        register(client, answering_misses("question:"))
        register(client, NOTING)
        assert client.get("question:1") == b"answer for question:1"
        blob = tflite_models.sum_and_product()
        client.execute_command("AI.MODELSTORE", KEY, "TFLITE", "CPU", "TAG", "sums", "BLOB", blob)
        client.execute_command("AI.TENSORSET", "{m}in", "FLOAT", 1, 2, "VALUES", 1, 2)
        run = f"AI.MODELEXECUTE {KEY} INPUTS 2 {{m}}in {{m}}in OUTPUTS 2 {{m}}sum {{m}}product"
        client.execute_command(*run.split())
        yield client
        for entry in client.execute_command("RG.DUMPREGISTRATIONS"):
            client.execute_command("RG.UNREGISTER", entry[1])


def _asked(client: redis.Redis, name: str) -> Frame:
    """What the panel's table shows: the reply's first frame, or the JSON of its rows as columns."""
    frame = ask(client, QUERIES[name].model)[0]
    steps = {step["id"]: step["options"] for step in PANELS[name].get("transformations", ())}
    if "extractFields" not in steps:
        return frame
    rows = [json.loads(str(text)) for text in frame.fields[steps["extractFields"]["source"]]]
    return Frame({column: [row[column] for row in rows] for column in rows[0]})


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_panel_gets_the_fields_that_it_shows(shard: redis.Redis, query: ShardQuery) -> None:
    frame = _asked(shard, query.name)

    assert frame.length > 0 or query.name == REQUIREMENTS
    assert set(query.fields) <= frame.fields.keys()
    for field in query.fields:
        if (unit := _unit(PANELS[query.name], field)) not in ("string", "none"):
            assert all(isinstance(value, int | float) for value in frame.fields[field]), (field, unit)


def _unit(panel: dict[str, Any], field: str) -> str:
    """Of a field: its own, or, of a reply that is one figure after the other, the panel's."""
    config = panel["fieldConfig"]
    for override in config["overrides"]:
        if override["matcher"]["options"] == field:
            for own in override["properties"]:
                if own["id"] == "unit":
                    return str(own["value"])
    return "none" if panel["type"] == "table" else str(config["defaults"]["unit"])


def test_a_user_with_the_rights_that_are_documented_is_enough(
    shard: redis.Redis,
) -> None:
    for line in re.findall(r"^    (ACL SETUSER grafana .*)$", DOCUMENTED.read_text(), re.MULTILINE):
        shard.execute_command(*line.split())
    port = shard.connection_pool.connection_kwargs["port"]
    with closing(new_client(port, username="grafana", password="secret")) as client:
        for query in QUERIES.values():
            ask(client, query.model)
        with pytest.raises(PluginError, match="no permissions"):
            ask(client, {"type": "cli", "query": "GET question:1"})


def test_registrations_are_shown_with_their_arguments(shard: redis.Redis) -> None:
    frame = _asked(shard, "Keymiss / Shard: Gears / Registrations")

    notes = next(row for row in map(frame.row, range(frame.length)) if row["desc"] == "notes")
    assert notes["reader"] == "KeysReader"
    assert notes["numTriggered"] == notes["numFailures"] == 0
    assert '"regex"' in str(notes["args"])


def test_requirements_are_shown(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "zz_carried", "1.0", {"zz_carried.py": ""})
    package = f"zz-carried @ {wheel.as_uri()}"
    kind = available_kinds()[
        0
    ]  # to install it takes seconds, and the reply is the worker's, whatever the server
    with closing(Server(kind, tmp_path / "server").start()) as server, closing(server.client()) as client:
        assert client.execute_command("RG.PYEXECUTE", NOTING, "REQUIREMENTS", package) == b"OK"
        row = _asked(client, REQUIREMENTS).row(0)

    assert "zz-carried" in str(row["Name"])
    assert "zz_carried-1.0-py3-none-any.whl" in str(row["Wheels"])
    assert (row["IsDownloaded"], row["IsInstalled"]) == ("yes", "yes")


def test_models_are_shown_with_what_they_did(shard: redis.Redis) -> None:
    row = _asked(shard, "Keymiss / Shard: Models / Models").row(0)

    assert (row["key"], row["tag"], row["backend"], row["device"]) == (KEY, "sums", "TFLITE", "CPU")
    assert (row["calls"], row["errors"]) == (1, 0)


def test_the_functions_own_counts_are_shown(shard: redis.Redis) -> None:
    row = _asked(shard, "Keymiss / Shard: Gears / Masters").row(0)

    assert row["misses_overridden"] == 1


def test_what_the_plugin_cannot_read_is_an_error(shard: redis.Redis) -> None:
    with pytest.raises(PluginError, match="unsupported array"):
        ask(shard, {"type": "cli", "query": "MGET {m}none {m}nothing"})
    with pytest.raises(PluginError, match="unknown command"):
        ask(shard, {"type": "cli", "query": "AI.NOTHING"})
