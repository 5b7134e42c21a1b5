"""More models than memory: `keymiss.models-memory` of a real worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from inference import small_models
from inference.conftest import child_worker
from inference.shard import Shard, StoredModel, floats

SIDE = 512
MODEL_BYTES = 4 * SIDE * SIDE
BUDGET = 5 * MODEL_BYTES // 2  # two of them
ONES = floats(1, SIDE, values=[1.0] * SIDE)


class Scaled(torch.nn.Module):
    """The output is `factor` times the sum of the inputs."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((SIDE, SIDE), factor))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.weight)[:, :1]


class Counting(Scaled):
    """The same, and it counts its runs: its weights are not only the file's."""

    def __init__(self, factor: float) -> None:
        super().__init__(factor)
        self.register_buffer("runs", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.runs.add_(1)
        return (x @ self.weight)[:, :1]


@dataclass
class Limited:
    """A channel to a worker with a budget, the worker's pid, and what INFO told last."""

    shard: Shard
    pid: int
    told: dict[str, float]
    runs: int = 0

    def run(self, *models: StoredModel) -> list[float]:
        answers = []
        for model in models:
            ran = self.shard.run(model, [ONES])
            assert ran.reply == b"+OK\r\n"
            answers.append(float(ran.outputs[0].values[0]) / SIDE)
            self.runs += 1
        return answers

    def numbers(self, until: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        """What INFO tells, once it tells of all runs and that."""
        while not self.told or self.told["jobs_run"] != self.runs or not until(self.told):
            self.told = self.shard.receive_info()
        return self.told

    def resident(self, file: Path) -> int:
        """Bytes of the file that the worker has in memory."""
        kib, ours = 0, False
        for line in Path(f"/proc/{self.pid}/smaps").read_text().splitlines():
            if "-" in line.partition(" ")[0]:
                ours = line.endswith(str(file))
            elif ours and line.startswith("Rss:"):
                kib += int(line.split()[1])
        return kib * 1024


@pytest.fixture(scope="module")
def _limited() -> Iterator[Limited]:
    with child_worker() as (ours, worker):
        yield Limited(Shard(ours, models_memory=BUDGET), worker.pid, {})


@pytest.fixture
def limited(_limited: Limited) -> Limited:
    """A worker that the tests share, without models, with room for two."""
    _limited.shard.send("SETTING", "models-memory", 1)  # a byte: those of other tests go
    _limited.numbers(lambda told: told["bytes_resident"] == 0)
    _limited.shard.send("SETTING", "models-memory", BUDGET)
    return _limited


@pytest.fixture
def scaled(tmp_path: Path) -> Callable[..., list[StoredModel]]:
    """scaled(1, 2): models with these factors, which no other test has."""
    return lambda *factors, kind=Scaled: [
        StoredModel(small_models.write(kind(float(factor)), tmp_path / f"{factor}.pt")) for factor in factors
    ]


def test_mapped_models_give_their_pages_back_and_stay_loaded(
    limited: Limited, scaled: Callable[..., list[StoredModel]]
) -> None:
    before, models = dict(limited.told), scaled(1, 2, 3, 4)
    assert limited.run(*models, *models) == [1, 2, 3, 4] * 2
    assert sum(limited.resident(model.path) == 0 for model in models) >= 2
    told = limited.numbers(lambda told: True)
    assert told["models_loaded"] == before["models_loaded"] + 4
    assert 0 < told["bytes_resident"] <= BUDGET
    assert told["models_put_out"] - before["models_put_out"] >= 6
    assert told["models_brought_back"] - before["models_brought_back"] >= 2


def test_models_that_change_themselves_are_dropped_and_loaded_again(
    limited: Limited, scaled: Callable[..., list[StoredModel]]
) -> None:
    before, models = dict(limited.told), scaled(5, 6, 7, kind=Counting)
    assert limited.run(*models, *models) == [5, 6, 7] * 2
    told = limited.numbers(lambda told: True)
    assert told["models_loaded"] == before["models_loaded"] + 2
    assert 0 < told["bytes_resident"] <= BUDGET
    back = told["models_brought_back"] - before["models_brought_back"]
    assert told["models_put_out"] - before["models_put_out"] == back + 1 >= 2
    assert sum(limited.resident(model.path) > 0 for model in models) == 2


def test_a_model_larger_than_the_budget_runs_alone(
    limited: Limited, scaled: Callable[..., list[StoredModel]]
) -> None:
    limited.shard.send("SETTING", "models-memory", MODEL_BYTES // 2)
    one, two = scaled(8, 9, kind=Counting)
    assert limited.run(one, two, one) == [8, 9, 8]
    assert limited.resident(two.path) == 0


def test_without_a_budget_all_stay(limited: Limited, scaled: Callable[..., list[StoredModel]]) -> None:
    limited.shard.send("SETTING", "models-memory", 0)
    before, models = dict(limited.told), scaled(10, 11, 12)
    assert limited.run(*models, *models) == [10, 11, 12] * 2
    told = limited.numbers(lambda told: True)
    assert told["models_put_out"] == before["models_put_out"]
    assert told["bytes_resident"] >= 3 * MODEL_BYTES
    assert all(limited.resident(model.path) >= MODEL_BYTES for model in models)
