"""Sessions as documentation shows them: indented lines, commands behind `$ `, what they print below; `...`
stands for lines that are left out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

INDENT = "    "
_HERE_DOCUMENT = re.compile(r"<<'(\w+)'")
OMITTED = "..."
_VARYING = re.compile(r"\d+(\.\d+)? ms|shard \d+|^\d+\.\d(?=  )")  # durations, ports, margins of answers


@dataclass
class Step:
    """A command, and the lines that it is shown to print."""

    command: str
    shown: list[str] = field(default_factory=list)

    def agrees(self, output: str) -> bool:
        """Whether the output is what is shown, but for what varies; anything where nothing is shown."""
        if not self.shown:
            return True
        printed = "".join(f"{_masked(line)}\n" for line in output.splitlines())
        return re.fullmatch("".join(map(_pattern, self.shown)), printed) is not None


def steps(page: Path, heading: str) -> list[Step]:
    """The commands of the page's section `heading`, in order."""
    text = page.read_text()
    section = text[text.index(f"\n## {heading}\n") + 1 :]
    section = section.partition("\n## ")[0]
    found: list[Step] = []
    closing = ""  # the word that ends the here-document being read
    showing = False  # what a command prints
    for line in section.splitlines():
        if not line.startswith(INDENT):
            if closing and not line.strip():
                found[-1].command += "\n"
            showing = False
            continue
        line = line.removeprefix(INDENT)
        if closing:
            found[-1].command += "\n" + line
            closing = "" if line == closing else closing
        elif line.startswith("$ "):
            command = re.sub(r"\s+#.*$", "", line.removeprefix("$ "))
            found.append(Step(command))
            here_document = _HERE_DOCUMENT.search(command)
            closing = here_document[1] if here_document else ""
            showing = True
        elif showing:
            found[-1].shown.append(line)
    return found


def _pattern(shown: str) -> str:
    return "(.*\n)*" if shown == OMITTED else f"{re.escape(_masked(shown))}\n"


def _masked(line: str) -> str:
    """Without quotation marks too: redis-cli leaves them out where it does not print to a terminal."""
    return _VARYING.sub("...", line.strip().strip('"'))
