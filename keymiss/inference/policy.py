"""Which waiting jobs run next, and together. Pure: time and costs come in as arguments.

Jobs of one model whose inputs differ in nothing but dimension 0 form a group, in the order of their turns
(see turns: of one shard, that of their arrival). A group whose model has a batch size is joined along
dimension 0:

1. A batch is a prefix of its group: jobs are added until the next one would take it over `batchsize` rows.
   The first job runs however large it is. Without a batch size every job runs alone.
   Sequences of different lengths form groups of one family; a batch that has room left takes jobs of its
   family's other groups too, nearest in length first, as long as little of the pass goes into filling up.
2. A batch of fewer than `minbatchsize` rows waits for more, until its first job has waited
   `minbatchtimeout_s` (0: for ever). While it waits, other groups run. One that no further job would fit
   into does not wait.
3. Of the batches that are ready, one of the model that has used least of the device runs; among equals, of
   the model with the job that has waited longest. Of that model's batches, the one whose turn it is.
4. A job whose deadline has passed is never run and never counted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from keymiss.channel import NEVER

J = TypeVar("J")

# Of a pass over sequences of different lengths, the share that goes into filling up. With 0.1 and 0.2 passes
# were larger, and no more was answered.
_MAX_PADDING = 0.05


class Rule(NamedTuple):
    """A model's batch options as AI.MODELSTORE was given them; 0 where they were not given."""

    batchsize: int = 0
    minbatchsize: int = 0
    minbatchtimeout_s: float = 0.0


@dataclass(slots=True)
class Waiting(Generic[J]):
    """A job in its group: how many rows its inputs have, when it came, until when it may be run (monotonic
    seconds), and its turn."""

    job: J
    rows: int
    arrived_s: float
    deadline_s: float = NEVER
    turn: float = 0.0


@dataclass(slots=True)
class Group(Generic[J]):
    """Jobs that may run together, in the order of their turns. `model` is what costs are counted for.
    `tokens` is the length that their sequences run at where these may be filled up to that of another group
    of the same `family`; else 0."""

    model: Hashable
    rule: Rule
    waiting: Sequence[Waiting[J]]
    tokens: int = 0
    family: Hashable = None


@dataclass(slots=True)
class Batch(Generic[J]):
    """Jobs of one group to run together. They and the expired ones between them are the first `taken` of
    their group."""

    jobs: tuple[J, ...]
    rows: int
    taken: int
    arrived_s: float  # when the first of its jobs came
    turn: float = 0.0  # of the first


@dataclass(slots=True)
class Decision(Generic[J]):
    """Run `batch` of `group`; or, where that is None, look again at `wake_s` or when something new has
    come."""

    group: Group[J] | None
    batch: Batch[J] | None
    wake_s: float


def form(group: Group[J], now_s: float, most: int | None = None) -> Batch[J] | float:
    """The batch that the group can run now, or the time at which it can be run as it is (NEVER: not without
    more jobs). It has no more than `most` rows where that is less than the batch size, and enough."""
    rule, rows, taken, full, first_s = group.rule, 0, 0, False, NEVER
    enough, turn = min(rule.minbatchsize, rule.batchsize), 0.0
    room = rule.batchsize if most is None else min(rule.batchsize, max(most, enough))
    jobs: list[J] = []
    for one in group.waiting:
        if one.deadline_s > now_s:
            if jobs and rows + one.rows > room:
                full = True
                break
            if not jobs:
                turn = one.turn
            first_s = min(first_s, one.arrived_s)
            jobs.append(one.job)
            rows += one.rows
        taken += 1
    if not jobs:
        return NEVER
    batch = Batch(tuple(jobs), rows, taken, first_s, turn)
    if full or not rule.batchsize or rows >= enough:
        return batch
    ready_s = first_s + rule.minbatchtimeout_s if rule.minbatchtimeout_s else NEVER
    return batch if ready_s <= now_s else ready_s


def widen(
    group: Group[J], batch: Batch[J], others: Iterable[Group[J]], now_s: float, most: int
) -> list[tuple[Group[J], Batch[J]]]:
    """What fits beside `batch` of `group` out of the other groups of its family: up to `most` rows, and at
    most _MAX_PADDING of filling in all."""
    rows, longest, tokens = batch.rows, group.tokens, batch.rows * group.tokens
    more: list[tuple[Group[J], Batch[J]]] = []
    for other in sorted(others, key=lambda other: abs(other.tokens - group.tokens)):
        jobs, added, taken, first_s = [], 0, 0, NEVER
        for one in other.waiting:
            if one.deadline_s > now_s:
                wider, longer = rows + one.rows, max(longest, other.tokens)
                fits = tokens + one.rows * other.tokens >= (1 - _MAX_PADDING) * wider * longer
                if wider > most or not fits:
                    break
                rows, longest, tokens = wider, longer, tokens + one.rows * other.tokens
                jobs.append(one.job)
                added += one.rows
                first_s = min(first_s, one.arrived_s)
            taken += 1
        if taken:
            more.append((other, Batch(tuple(jobs), added, taken, first_s)))
        if rows >= most:
            break
    return more


def next_batch(
    groups: Iterable[Group[J]],
    now_s: float,
    used_s: Mapping[Hashable, float],
    most: Callable[[Group[J]], int | None] = lambda _: None,
) -> Decision[J]:
    """What the device does next. `used_s` is what each model has used of it, `most` how many rows a batch of
    a group should have."""
    ready: dict[Hashable, list[tuple[Group[J], Batch[J]]]] = {}
    wake_s = NEVER
    for group in groups:
        formed = form(group, now_s, most(group))
        if isinstance(formed, float):
            wake_s = min(wake_s, formed)
        else:
            ready.setdefault(group.model, []).append((group, formed))
    if not ready:
        return Decision(None, None, wake_s)

    def waited(model: Hashable) -> tuple[float, float]:
        return used_s.get(model, 0.0), min(batch.arrived_s for _, batch in ready[model])

    chosen = min(ready[min(ready, key=waited)], key=lambda one: (one[1].turn, one[1].arrived_s))
    return Decision(*chosen, wake_s)


class Shares:
    """How much of a device each model has used, for a fair choice among those that wait.

    A model that was idle starts level with the least of those that wait: idle time is not saved up."""

    def __init__(self) -> None:
        self.used_s: dict[Hashable, float] = {}

    def join(self, model: Hashable) -> None:
        """The model has a job waiting and had none before."""
        self.used_s[model] = min(self.used_s.values(), default=0.0)

    def charge(self, model: Hashable, seconds: float) -> None:
        """The model used the device. Ignored where it has left."""
        if model in self.used_s:
            self.used_s[model] += seconds

    def leave(self, model: Hashable) -> None:
        """The model has no more jobs waiting."""
        self.used_s.pop(model, None)
