"""docs/operations.md as values: its sections, and their blocks of commands with what marks them.

<!-- shows: REGEX -->   the commands that show the fault; REGEX is found in what they print, a line at a time
<!-- mends -->          the commands that mend it
<!-- well: REGEX -->    prints this afterwards; without this and `gone`, `shows` no longer does
<!-- gone: REGEX -->    no longer prints this afterwards
<!-- before -->         what is done while all is well
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from support.paths import REPOSITORY

PAGE = REPOSITORY / "docs" / "operations.md"
_MARKED = re.compile(r"<!-- (\w+)(?:: (.*?))? -->\n```sh\n(.*?)```", re.DOTALL)
_HEADING = re.compile(r"^(#{1,2}) (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """Commands, and what they are to print."""

    mark: str
    pattern: str
    commands: str


@dataclass(frozen=True)
class Section:
    """A second-level heading with what stands below it; `part` is the first-level heading above."""

    part: str
    title: str
    text: str

    @property
    def anchor(self) -> str:
        """As GitHub makes it of a heading."""
        return re.sub(r"[^\w -]", "", self.title.lower()).replace(" ", "-")

    @property
    def blocks(self) -> list[Block]:
        return [Block(*found) for found in _MARKED.findall(self.text)]

    def block(self, mark: str) -> Block | None:
        """The only one of that mark, or none."""
        found = [block for block in self.blocks if block.mark == mark]
        assert len(found) <= 1, f"{self.title}: more than one block {mark}"
        return found[0] if found else None


def sections() -> list[Section]:
    """All of the page, in its order."""
    text = _without_here_documents(PAGE.read_text())
    headings = list(_HEADING.finditer(text))
    found, part = [], ""
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        if len(heading[1]) == 1:
            part = heading[2]
            continue
        end = following.start() if following else len(text)
        found.append(Section(part, heading[2], PAGE.read_text()[heading.end() : end]))
    return found


def _without_here_documents(text: str) -> str:
    """Of the same length, with blanks for blocks: a comment of a script is no heading."""
    return re.sub(r"^```.*?^```", lambda block: re.sub("[^\n]", " ", block[0]), text, flags=re.S | re.M)
