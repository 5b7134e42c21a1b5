"""What waits for one device, in groups that may run together. Who uses it holds the device's lock."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from keymiss.inference.costs import RowCosts
from keymiss.inference.forward import joinable, likeness, rows_of, size_of
from keymiss.inference.padding import axes_of, tokens_of
from keymiss.inference.policy import Batch, Group, Rule, Shares, Waiting, next_batch, widen
from keymiss.inference.request import Request
from keymiss.inference.turns import Turns

_MAX_KNOWN = 1024  # models
_WORTH_SHARING = 4  # rows that each of several passes should have: fewer stay together


@dataclass(slots=True)
class Choice:
    """What would run next."""

    parts: list[tuple[Group[Request], Batch[Request]]]

    @property
    def joins_lengths(self) -> bool:
        """Whether these are sequences that others of about the same length may be joined with."""
        return self.parts[0][0].tokens > 0

    @property
    def requests(self) -> tuple[Request, ...]:
        return tuple(request for _, batch in self.parts for request in batch.jobs)


class Line:
    """`lanes`: how many passes may run at the same time."""

    def __init__(self, lanes: int = 1) -> None:
        self._lanes = lanes
        self._groups: dict[Hashable, tuple[Group[Request], deque[Waiting[Request]]]] = {}
        self._shares = Shares()
        self._turns: dict[Hashable, Turns] = {}  # of each model that is waited for
        self._row_costs: dict[Hashable, RowCosts] = {}  # of models that join sequences

    def __len__(self) -> int:
        """Requests that wait."""
        return sum(len(waiting) for _, waiting in self._groups.values())

    def __bool__(self) -> bool:
        return bool(self._groups)

    def first_of_each_group(self) -> Iterator[Request]:
        return (waiting[0].job for _, waiting in self._groups.values())

    def add(self, request: Request, now_s: float) -> None:
        key, rule, tokens = _kind_of(request)
        if request.model_key not in self._turns:
            self._turns[request.model_key] = Turns()
            self._shares.join(request.model_key)
        if key not in self._groups:
            new: deque[Waiting[Request]] = deque()
            family = _family_of(request) if tokens else None
            self._groups[key] = Group(request.model_key, rule, new, tokens, family), new
        group, waiting = self._groups[key]
        rows = rows_of(request.tensors)
        turn = self._turns[request.model_key].give(request.asked.shard, rows * max(group.tokens, 1))
        one = Waiting(request, rows, now_s, request.deadline_s, turn)
        if waiting and turn < waiting[-1].turn:
            waiting.insert(bisect_right(waiting, turn, key=lambda other: other.turn), one)
        else:
            waiting.append(one)

    def remove(self, request: Request) -> None:
        """Where it waits still."""
        for group, waiting in self._groups.values():
            if group.model == request.model_key:
                for n, one in enumerate(waiting):
                    if one.job is request:
                        del waiting[n]
                        cost = one.rows * max(group.tokens, 1)
                        self._turns[request.model_key].take_back(request.asked.shard, cost)
                        self._drop_empty()
                        return

    def choose(self, now_s: float) -> tuple[Choice | None, float]:
        """What would run now; where that is None, when to ask again, unless something comes."""
        groups = [group for group, _ in self._groups.values()]
        families = {group.family: group for group in groups if group.tokens}
        most = {family: self._most(group) for family, group in families.items()}
        decision = next_batch(groups, now_s, self._shares.used_s, lambda group: most.get(group.family))
        group, batch = decision.group, decision.batch
        if group is None or batch is None:
            return None, decision.wake_s
        parts = [(group, batch)]
        if group.tokens and axes_of(batch.jobs[0].model).known:
            others = [other for other in groups if other.family == group.family and other is not group]
            parts += widen(group, batch, others, now_s, most[group.family])
        return Choice(parts), decision.wake_s

    def take(self, choice: Choice) -> tuple[Request, ...]:
        """Take it out of the line; nothing has changed since it was chosen."""
        first, batch = choice.parts[0]
        self._turns[first.model].served(batch.turn)
        for group, batch in choice.parts:
            assert isinstance(group.waiting, deque)
            for _ in range(batch.taken):
                group.waiting.popleft()
        self._drop_empty()
        return choice.requests

    def ran(self, batch: Sequence[Request], used_s: float, share: float) -> tuple[int, int]:
        """A batch had this share of the device for so long. Its tokens, where it is of sequences, and how
        many more these were filled up with."""
        first = batch[0]
        self._shares.charge(first.model_key, used_s * share)
        rows, tokens, padding = size_of(first.model, [one.tensors for one in batch])
        if tokens and first.rule.batchsize:
            if len(self._row_costs) >= _MAX_KNOWN:
                self._row_costs.clear()
            costs = self._row_costs.setdefault(first.model_key, RowCosts())
            costs.learn(rows, tokens, used_s * share)
        return tokens, padding

    def _most(self, group: Group[Request]) -> int:
        """How many rows of the group's family to join."""
        family = (waiting for other, waiting in self._groups.values() if other.family == group.family)
        enough, rows = group.rule.batchsize * self._lanes, 0
        for one in chain.from_iterable(family):
            rows += one.rows
            if rows >= enough:
                break
        shared = max(_WORTH_SHARING, -(-rows // self._lanes))
        costs = self._row_costs.get(group.model)
        wanted = min(shared, group.rule.batchsize)
        return costs.best(max(1, min(rows, wanted))) if costs else wanted

    def _drop_empty(self) -> None:
        for key in [key for key, (_, waiting) in self._groups.items() if not waiting]:
            model = self._groups.pop(key)[0].model
            if not any(group.model == model for group, _ in self._groups.values()):
                self._shares.leave(model)
                del self._turns[model]


def _kind_of(request: Request) -> tuple[Hashable, Rule, int]:
    """The key of its group, by which rule that is joined, and the length that its sequences run at where
    others may be joined with them."""
    if not request.rule.batchsize or not joinable(request.tensors):
        return (request.model_key, None), Rule(), 0
    tokens = tokens_of(request.model, request.tensors)
    if not tokens or not axes_of(request.model).known:
        return (request.model_key, likeness(request.tensors)), request.rule, tokens
    width = axes_of(request.model).width(tokens, request.model.length_step)
    return (_family_of(request), width), request.rule, width


def _family_of(request: Request) -> Hashable:
    """Equal for requests that can be joined once their sequences are equally long."""
    return request.model_key, tuple(tensor.dtype for tensor in request.tensors)
