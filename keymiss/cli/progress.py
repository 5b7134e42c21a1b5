"""What commands show while they work."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..client import Shard
from ..corpus.tokenised import wait_for_tokens

NO_MODEL = "Shards have no model: `keymiss model store` stores it, `keymiss deploy` then makes the tokens."


def bar(console: Console) -> Progress:
    """A bar with counts and time; nothing where the output is no terminal."""
    what = TextColumn("{task.description}", markup=False)
    columns = (what, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def show_tokens(shards: list[Shard], console: Console) -> int:
    """Wait until every paragraph has its tokens, or none are being added; the number of those without."""
    with bar(console) as progress:
        task = progress.add_task("paragraphs tokenised")
        done, total = wait_for_tokens(
            shards, lambda done, total: progress.update(task, completed=done, total=total)
        )
    console.print(f"{done} of {total} paragraphs have their tokens.")
    return total - done
