"""Small TorchScript models as AI.MODELSTORE takes them, and commands to store and run them."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import redis
import torch
from torch import Tensor, nn


class _Doubler(nn.Module):
    """Twice its input; any shape and dtype."""

    def forward(self, x: Tensor) -> Tensor:
        return x + x


class _Slow(nn.Module):
    """As many steps, each of some microseconds, as its inputs sum to; gives that sum."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.zeros([1])
        for _ in range(int(x.sum().item())):
            y = torch.sin(y + 1.0)
        return y * 0.0 + x.sum()


class _SumAndProduct(nn.Module):
    """Two inputs a and b, two outputs: a + b and a * b."""

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return a + b, a * b


class _Half(nn.Module):
    """A float16 output, which no tensor key can hold."""

    def forward(self, x: Tensor) -> Tensor:
        return x.half()


class _Many(nn.Module):
    """More outputs than its definition says."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x] * 500


class _Repeated(nn.Module):
    """Its input 65536 times behind each other: more than the smallest frame holds."""

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat(65536)


class _Positive(nn.Module):
    """Those of its elements that are above zero: maybe none."""

    def forward(self, x: Tensor) -> Tensor:
        return x[x > 0]


class _Weighty(nn.Module):
    """Megabytes of weights; gives its input plus the first."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.rand(600_000))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weights[0]


@cache
def weighty() -> bytes:
    return _saved(_Weighty())


@cache
def positive() -> bytes:
    return _saved(_Positive())


@cache
def sum_and_product() -> bytes:
    return _saved(_SumAndProduct())


@cache
def half() -> bytes:
    return _saved(_Half())


@cache
def many() -> bytes:
    return _saved(_Many())


@cache
def repeated() -> bytes:
    return _saved(_Repeated())


@cache
def doubler() -> bytes:
    return _saved(_Doubler())


@cache
def slow() -> bytes:
    return _saved(_Slow())


def _saved(module: nn.Module) -> bytes:
    archive = io.BytesIO()
    torch.jit.save(torch.jit.script(module.eval()), archive)
    return archive.getvalue()


def store(client: redis.Redis, key: str, blob: bytes) -> None:
    assert client.execute_command("AI.MODELSTORE", key, "TORCH", "CPU", "BLOB", blob) == b"OK"


def set_tensor(client: redis.Redis, key: str, *values: float) -> None:
    """A FLOAT vector of these values."""
    assert client.execute_command("AI.TENSORSET", key, "FLOAT", len(values), "VALUES", *values) == b"OK"


def get_tensor(client: redis.Redis, key: str) -> Any:
    return client.execute_command("AI.TENSORGET", key, "VALUES")


def execute(client: redis.Redis, model: str, given: str, result: str) -> Any:
    return client.execute_command("AI.MODELEXECUTE", model, "INPUTS", 1, given, "OUTPUTS", 1, result)
