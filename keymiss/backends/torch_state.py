"""Whether a pass of a TorchScript module changes what the next one sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# What makes a container or an object anew.
_MAKES = frozenset(("prim::ListConstruct", "prim::DictConstruct", "prim::CreateObject"))


def changes_itself(graph: Any) -> bool:
    """Whether passes of this graph, with all calls inlined, may write into what outlasts them: attributes,
    constants, or the inputs. What a pass has made for itself it may write into as it likes.

    Torch's own analysis of aliases knows each write: in place, by `out=`, into a list, of an attribute."""
    aliases = graph.alias_db()
    given = tuple(graph.inputs())
    return any(
        aliases.has_writers(value)
        and (
            value.node().kind() == "prim::Constant"
            or any(aliases.may_contain_alias(value, one) for one in given)
        )
        for value in _values(graph)
    )


def _values(block: Any) -> Iterator[Any]:
    """Those of a graph or block that stand for something which may have been there before."""
    yield from block.inputs()
    for node in block.nodes():
        # What a write gives back is what was written into.
        if node.kind() not in _MAKES and "!" not in node.schema():
            yield from node.outputs()
        for inner in node.blocks():
            yield from _values(inner)
