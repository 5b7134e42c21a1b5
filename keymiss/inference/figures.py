"""What the models worker measures: of each model on each device, and whose requests they were.

Whoever runs a batch adds to plain numbers, under the lock of its device. Every thread may read them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from keymiss.backends import Device
from keymiss.metrics.histogram import REQUESTS, Histogram
from keymiss.metrics.samples import Bounded, Sample, sample


class ModelFigures:
    """Of one model on one device."""

    __slots__ = ("batches", "device", "errors", "forward", "label", "padding", "sizes", "tokens")

    def __init__(self, label: str, device: str) -> None:
        self.label, self.device = label, device
        self.batches = 0  # forward passes
        self.errors = 0  # requests that failed
        self.tokens = 0  # of sequences that ran
        self.padding = 0  # that these were filled up with
        self.sizes = Histogram(REQUESTS)  # requests of a pass
        self.forward = Histogram()  # seconds of a pass

    def samples(self) -> Iterator[Sample]:
        names = self.label, self.device
        yield sample("keymiss_model_errors_total", self.errors, *names)
        yield sample("keymiss_batches_total", self.batches, *names)
        yield sample("keymiss_batch_size", self.sizes.snapshot(), *names)
        yield sample("keymiss_forward_duration_seconds", self.forward.snapshot(), *names)
        yield sample("keymiss_tokens_total", self.tokens, *names)
        yield sample("keymiss_padding_tokens_total", self.padding, *names)


class Asked:
    """The requests of one shard for a model on a device."""

    __slots__ = ("model", "requests", "shard")

    def __init__(self, model: ModelFigures, shard: str) -> None:
        self.model, self.shard = model, shard
        self.requests = 0

    def ran_alone(self, passes: int, used_s: float, errors: int) -> None:
        """Passes of one request each were run, together in `used_s`. Quick ones: each is taken for as long as
        the others, since to tell them apart would cost as much as a pass."""
        model = self.model
        model.batches += passes
        model.errors += errors
        model.sizes.add(1, passes)
        model.forward.add(used_s / passes, passes)
        self.requests += passes


def count_pass(batch: Sequence[Asked], used_s: float, tokens: int, padding: int, failed: bool) -> None:
    """One pass was run for these requests of one model."""
    model = batch[0].model
    model.batches += 1
    model.tokens += tokens
    model.padding += padding
    model.sizes.add(len(batch))
    model.forward.add(used_s)
    if failed:
        model.errors += len(batch)
    for one in batch:
        one.requests += 1


NOBODY = Asked(ModelFigures("", ""), "")  # whose requests no metric shows


class Figures:
    """All models of this process. The loop's thread finds and makes; every thread reads."""

    def __init__(self) -> None:
        self._label_of = Bounded()
        self._models: dict[tuple[str, Device], ModelFigures] = {}
        self._asked: dict[tuple[str, Device, str], Asked] = {}

    def asked(self, label: str, device: Device, shard: str) -> Asked:
        """Where a shard's requests for a model are counted."""
        found = self._asked.get((label, device, shard))
        return found or self._new(label, device, shard)

    def _new(self, label: str, device: Device, shard: str) -> Asked:
        label = self._label_of(label)
        model = self._models.setdefault((label, device), ModelFigures(label, str(device)))
        return self._asked.setdefault((label, device, shard), Asked(model, shard))

    def samples(self) -> Iterator[Sample]:
        for asked in list(self._asked.values()):
            model = asked.model
            yield sample(
                "keymiss_model_requests_total", asked.requests, asked.shard, model.label, model.device
            )
        for model in list(self._models.values()):
            yield from model.samples()

    def weights(self, sizes: Iterable[tuple[str, int]]) -> Iterator[Sample]:
        """The bytes of models' weights, given with their labels. Every thread."""
        total: Counter[str] = Counter()
        for label, size in sizes:
            total[self._label_of(label)] += size
        for label, size in total.items():
            yield sample("keymiss_model_weight_bytes", size, label)
