"""Small TorchScript and ONNX models, made on the spot."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn


class Linear(nn.Module):
    """float32 (n, 3) to (n, 2)"""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.layer.weight.data = torch.tensor([[1.0, 2.0, -0.5], [0.25, -1.0, 4.0]])
        self.layer.bias.data = torch.tensor([0.5, -2.0])

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)  # type: ignore[no-any-return]


class Rows(nn.Module):
    """Of each row its sum, and how many rows ran together, so that batching shows."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.sum(1, keepdim=True), torch.ones_like(x[:, :1]) * x.size(0)


class Tokens(nn.Module):
    """Of sequences: the sum of what came before each token, of all, and of each pair; filling does not count.
    And how many rows ran together."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = (input_ids * attention_mask).float()
        pairs = (x.unsqueeze(1) + x.unsqueeze(2)).unsqueeze(1)
        return x.cumsum(1), x.sum(1, keepdim=True), pairs, torch.ones_like(x[:, :1]) * x.size(0)


class Sum(nn.Module):
    """A scalar of everything: its rows cannot be told apart."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum()


class Positive(nn.Module):
    """Refuses positive numbers."""

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() > 0):
            raise ValueError("x is positive")
        return x


class Steps(nn.Module):
    """As many steps as the sum of its input says: about 200,000 a second. It writes into a tensor of its own,
    so that nothing runs beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("y", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.y.zero_()
        for _ in range(int(x.sum().item())):
            self.y.add_(1.0).sin_()
        return self.y * 0.0 + x.sum()


class Half(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.half()


class Saves(nn.Module):
    """Writes a file, were it allowed to."""

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, "stolen.pt")
        return x


class InPlace(nn.Module):
    """Writes into its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.zero_()


class InPlaceOnItsOwn(nn.Module):
    """Writes into what it has made: a tensor in place, and a list."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        rows: list[Tensor] = []
        rows.append(x + 1.0)
        return self.relu(self.layer(rows[0]))  # type: ignore[no-any-return]


class Counting(nn.Module):
    """Adds up its inputs, by `out=`."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(4096))

    def forward(self, x: Tensor) -> Tensor:
        torch.add(self.total, x, out=self.total)
        return self.total[:1] + 0.0


class Listing(nn.Module):
    """Adds up its inputs, in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.total = [torch.zeros(1)]

    def forward(self, x: Tensor) -> Tensor:
        self.total[0] = self.total[0] + x
        return self.total[0]


class Nesting(nn.Module):
    """Keeps its inputs in a list of a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = {"all": [torch.zeros(1)]}

    def forward(self, x: Tensor) -> Tensor:
        self.kept["all"].append(x)
        return x + len(self.kept["all"])


class Reaching(nn.Module):
    """Runs a command in the shard, were it allowed to."""

    def forward(self, x: Tensor) -> Tensor:
        torch.ops.redis.execute("FLUSHALL")
        return x


class Wide(nn.Module):
    """Weights of a megabyte, some of them shared and one a view."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(512, 512)
        self.second = nn.Linear(512, 512)
        self.second.weight = self.first.weight
        self.register_buffer("counts", torch.zeros(4096))

    def forward(self, x: Tensor) -> Tensor:
        self.counts += 1.0
        return self.second(self.first(x)) + self.counts[0]  # type: ignore[no-any-return]


class States(nn.Module):
    """Two states of its own that are equal before its first pass, and another name of the first. A pass sets
    them to its input and to twice that, and gives all three."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("one", torch.zeros(4096))
        self.register_buffer("other", torch.zeros(4096))
        self.register_buffer("one_again", self.one[:1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.one.copy_(x)
        self.other.copy_(x + x)
        return self.one[:1] + 0.0, self.other[:1] + 0.0, self.one_again + 0.0


def write(module: nn.Module, file: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated in torch, and what this is about
        torch.jit.script(module.eval()).save(str(file))  # type: ignore[no-untyped-call]
    return file


def onnx_linear() -> bytes:
    """`Linear` as ONNX, its input called x and its output y."""
    layer = Linear().layer
    rows = ["rows", 3], ["rows", 2]
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, rows[0])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, rows[1])],
        [
            helper.make_tensor("w", TensorProto.FLOAT, (2, 3), layer.weight.flatten().tolist()),
            helper.make_tensor("b", TensorProto.FLOAT, (2,), layer.bias.tolist()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def onnx_loop() -> bytes:
    """ONNX whose output y is its input x, doubled `times` times."""
    value, i64, true = helper.make_tensor_value_info, TensorProto.INT64, TensorProto.BOOL
    body = helper.make_graph(
        [helper.make_node("Add", ["now", "now"], ["then"]), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [value("n", i64, []), value("go", true, []), value("now", TensorProto.FLOAT, [2])],
        [value("on", true, []), value("then", TensorProto.FLOAT, [2])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["times", "", "x"], ["y"], body=body)],
        "loop",
        [value("times", i64, []), value("x", TensorProto.FLOAT, [2])],
        [value("y", TensorProto.FLOAT, [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def write_onnx_linear(file: Path) -> Path:
    file.write_bytes(onnx_linear())
    return file


def write_onnx_echo(file: Path, kind: int) -> Path:
    """An ONNX model that gives back its input, of one dimension."""
    values = [helper.make_tensor_value_info(name, kind, ["n"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "echo", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file
