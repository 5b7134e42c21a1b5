"""Loops of scripts, which end when nobody waits for their script any more.

The interpreter of torch runs a loop without Python, and nothing interrupts it. So each loop looks at the head
of its body whether it is to stop: at an attribute, which costs 25 ns a turn. The least operation on a tensor
takes 1,000, an operator of Python would take 10,000. That is put into a copy of the compiled graph and not
into the source, so that lines keep their numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any


class Stop:
    """What a call's loops look at, as the interpreter has it."""

    def __init__(self) -> None:
        self.asked = False


@lru_cache(maxsize=1)
def stop_type(torch: Any) -> Any:
    """Stop, compiled. For one thread at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is what scripts are
        torch.jit.script(Stop)
    return torch._C.ClassType(f"__torch__.{Stop.__module__}.{Stop.__qualname__}")


def new_stop(torch: Any, kind: Any) -> Any:
    """For one call. Its loops raise once `ask_to_stop` was called with it. `kind`: see stop_type."""
    stop = torch._C._create_object_with_type(kind)
    stop.setattr("asked", False)
    return stop


def ask_to_stop(stop: Any) -> None:
    """Every thread."""
    stop.setattr("asked", True)


def stoppable(torch: Any, function: Any, kind: Any) -> Any:
    """The compiled function with one more argument behind the others: what `new_stop` gives."""
    graph = function.inlined_graph  # a copy, with all that it calls
    stop = graph.addInput("stop")
    stop.setType(kind)
    for loop in list(_loops(graph)):
        _look_first(torch, graph, next(loop.blocks()), stop)
    return torch._C._create_function_from_graph(function.name, graph)


def _loops(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        for inner in node.blocks():
            yield from _loops(inner)
        if node.kind() == "prim::Loop":
            yield node


def _look_first(torch: Any, graph: Any, body: Any, stop: Any) -> None:
    """Put `if stop.asked: raise` at the head of a block."""
    graph.setInsertPoint(next(body.nodes(), body.returnNode()))
    asked = graph.insertNode(graph.create("prim::GetAttr", [stop], 1)).s_("name", "asked").output()
    asked.setType(torch._C.BoolType.get())
    branch = graph.insertNode(graph.create("prim::If", [asked], 0))
    raising, _ = branch.addBlock(), branch.addBlock()
    graph.setInsertPoint(raising)
    # Were it never set, the compiler would look once for loops in each other.
    graph.insertNode(graph.create("prim::SetAttr", [stop, asked], 0)).s_("name", "asked")
    what, kind = graph.insertConstant("nobody waits for the script any more"), graph.insertConstant(None)
    graph.insertNode(graph.create("prim::RaiseException", [what, kind], 0))
