"""docs/operations.md and the alert rules name each other, and every section is tried."""

from __future__ import annotations

import re

from operations.faults import FAULTS
from operations.sections import PAGE, sections
from support.paths import REPOSITORY

RULES = (REPOSITORY / "grafana" / "prometheus" / "rules.yml").read_text()
ALERTS = set(re.findall(r"^\s*- alert: (\w+)$", RULES, re.MULTILINE))
PLANNED = "Planned work"
INTRODUCTION = "Where to look first"


def test_every_alert_has_its_section_and_every_such_section_its_alert() -> None:
    assert {one.title for one in sections() if one.part == "Alerts"} == ALERTS


def test_the_runbook_of_every_alert_is_an_anchor_of_the_page() -> None:
    anchors = {f"docs/operations.md#{one.anchor}" for one in sections()}
    runbooks = re.findall(r"runbook: (\S+)", RULES)
    assert len(runbooks) == len(ALERTS)
    assert set(runbooks) <= anchors


def test_every_failure_names_the_alerts_that_tell_of_it() -> None:
    for section in sections():
        named = set(re.findall(r"\bKeymiss[A-Z]\w+", section.text))
        assert named <= ALERTS, section.title
        assert named or section.part == PLANNED or section.title in ALERTS


def test_every_link_inside_the_page_leads_to_a_section() -> None:
    anchors = {one.anchor for one in sections()}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE.read_text())) <= anchors


def test_every_section_shows_and_mends_a_fault_that_is_made() -> None:
    tried = [one for one in sections() if one.title != INTRODUCTION]
    assert [one.title for one in tried] == list(FAULTS)
    for section in tried:
        assert {"shows", "mends"} <= {block.mark for block in section.blocks}, section.title
        assert section.text.count("```sh\n") == len(section.blocks), f"{section.title}: a block is not tried"
