"""What the documentation points at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.paths import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    targets = [link[1] for link in LINK.finditer(page.read_text()) if "://" not in link[1]]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing
