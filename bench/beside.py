"""A peer beside Keymiss: in the same rounds at many clients, and each at half of what it can take at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from .answered import Answered, Asking
from .effort import Effort
from .generator import Generator
from .load import Key
from .peers.hosting import hosted
from .peers.servers import Peer
from .progress import Progress
from .rounds import interleave
from .workload import Item

MANY = 16
SATURATING = (MANY, 64)  # clients; who answers more of one than of the other takes that as its most
HALF_ROUNDS = 2
HALF_LASTS = 5  # times as long as a run of clients: a 99th percentile wants many answers

KEYMISS = "Keymiss"
THE_ORIGINAL = "original method"

Ask = Callable[[Asking], Answered]
Samples = Mapping[Key, Sequence[Answered]]


@dataclass(frozen=True)
class Beside:
    """What was measured of a peer and, in the same rounds, of Keymiss and of the original method."""

    peer: Peer
    answers: Sequence[str]
    closed: Samples
    half: Mapping[str, Answered]  # of the peer and of Keymiss, by name

    @property
    def rows(self) -> list[Key]:
        """The peer's own keys of `closed`."""
        return [key for key in self.closed if key.name == self.peer.what]


def measurements(rounds: int) -> int:
    """How many steps of progress a peer takes."""
    return (2 * len(SATURATING) + 1) * rounds + 2 * HALF_ROUNDS


def measure_beside(
    peer: Peer,
    items: Sequence[Item],
    threads: int,
    generator: Generator,
    keymiss: Ask,
    original: Ask,
    effort: Effort,
    progress: Progress,
) -> Beside:
    """PeerUnavailable where the peer cannot be run here."""
    progress.say(f"starting {peer.what}; its environment is made first where there is none yet")
    with hosted(peer, items, threads) as target:
        answers = generator.ask_once(target, MANY).answers
        asks: dict[str, Ask] = {KEYMISS: keymiss, peer.what: partial(generator.ask, target)}
        variants = {
            Key(name, clients): partial(ask, Asking(effort.seconds, clients))
            for clients in SATURATING
            for name, ask in asks.items()
        }
        variants[Key(THE_ORIGINAL, MANY)] = partial(original, Asking(effort.seconds, MANY))
        closed = interleave(variants, effort.rounds, progress)
        rates = {name: _most(closed, name) / 2 for name in asks}
        halves = interleave(
            {
                f"{name}, {rates[name]:.1f} questions a second": partial(
                    ask, Asking(effort.seconds * HALF_LASTS, rate=rates[name])
                )
                for name, ask in asks.items()
            },
            HALF_ROUNDS,
            progress,
        )
    pooled = [_pool(runs) for runs in halves.values()]
    return Beside(peer, answers, closed, dict(zip(asks, pooled, strict=True)))


def _most(closed: Samples, name: str) -> float:
    """Answers a second at saturation."""
    return max(median(run.rate for run in closed[Key(name, clients)]) for clients in SATURATING)


def _pool(runs: Sequence[Answered]) -> Answered:
    """Runs as one."""
    latencies_ms = [latency for run in runs for latency in run.latencies_ms]
    return Answered(sum(run.took_s for run in runs), latencies_ms, [])
