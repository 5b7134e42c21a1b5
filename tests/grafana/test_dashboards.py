"""The dashboards that are committed are those that the code makes, and each is whole."""

from __future__ import annotations

import json
import re
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from keymiss_deploy.grafana.commands import dashboards as command
from keymiss_deploy.grafana.files import differing, texts, write
from support.paths import REPOSITORY

FOLDER = REPOSITORY / "grafana" / "dashboards"
PAGES: dict[str, dict[str, Any]] = {name: json.loads(text) for name, text in texts().items()}
EVERY = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
WIDTH = 24


def _panels(page: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in page["panels"] if panel["type"] != "row"]


def test_the_files_are_what_the_code_makes() -> None:
    assert differing(FOLDER) == []
    assert CliRunner().invoke(command, ["--check"]).exit_code == 0


def test_a_file_that_was_edited_missing_or_too_many_is_found_and_mended(tmp_path: Path) -> None:
    write(tmp_path)
    edited, missing = tmp_path / "prometheus" / "overview.json", tmp_path / "shards" / "shard.json"
    edited.write_text(edited.read_text().replace("Answers", "Replies"))
    missing.unlink()
    (tmp_path / "shards" / "old.json").write_text("{}")

    assert differing(tmp_path) == ["prometheus/overview.json", "shards/old.json", "shards/shard.json"]
    write(tmp_path)
    assert differing(tmp_path) == []


@EVERY
def test_every_panel_has_title_description_unit_and_data_source(page: dict[str, Any]) -> None:
    for panel in _panels(page):
        assert panel["title"], panel
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] in ("${prometheus}", "${redis}"), panel["title"]
        assert panel["targets"], panel["title"]


@EVERY
def test_panels_fill_rows_and_do_not_overlap(page: dict[str, Any]) -> None:
    places = [panel["gridPos"] for panel in page["panels"]]

    for place in places:
        assert place["x"] + place["w"] <= WIDTH
    for one, other in combinations(places, 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart = apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart, (one, other)
    for top in {place["y"] for place in places}:
        row = sorted((place["x"], place["w"]) for place in places if place["y"] == top)
        assert row[0][0] == 0
        assert all(x + width == next_x for (x, width), (next_x, _) in pairwise(row)), (page["title"], row)
        assert sum(width for _, width in row) == WIDTH, (page["title"], row)


@EVERY
def test_every_variable_that_is_used_is_defined(page: dict[str, Any]) -> None:
    defined = {variable["name"] for variable in page["templating"]["list"]}
    built_in = {"__rate_interval", "__range", "__interval"}
    queries = [target for panel in page["panels"] for target in panel.get("targets", ())]
    queries += [variable.get("query") for variable in page["templating"]["list"]]
    queries += [panel["title"] for panel in page["panels"]]

    used = set(re.findall(r"\$\{?(\w+)", json.dumps([queries, page["annotations"]])))

    assert used <= defined | built_in
    assert defined <= used | {"prometheus", "redis"}


@EVERY
def test_links_lead_to_every_other_dashboard_with_the_same_choice(page: dict[str, Any]) -> None:
    tags = {tag for link in page["links"] for tag in link["tags"]}

    assert {tag for other in PAGES.values() for tag in other["tags"]} == tags
    assert all(link["includeVars"] and link["keepTime"] for link in page["links"])


def test_addresses_and_numbers_of_panels_are_unique() -> None:
    assert len({page["uid"] for page in PAGES.values()}) == len(PAGES)
    for page in PAGES.values():
        numbers = [panel["id"] for panel in page["panels"]]
        assert len(set(numbers)) == len(numbers)


def test_overview_has_one_row_for_each_shard() -> None:
    rows = [panel for panel in PAGES["prometheus/overview.json"]["panels"] if panel["type"] == "row"]

    assert [row["title"] for row in rows if row.get("repeat") == "shard"] == ["$shard"]
