"""What the source of a script may say: TorchScript, and nothing of Python.

A source is text of a client's. torch compiles it with its own parser, for its own interpreter; three things
keep it there:

1. Names mean only what `names` gives: the operators of torch, its dtypes and constants, the functions of
   torch.nn.functional (which are TorchScript themselves), and the `redis` and `redisAI` of operators.py.
   There is no `torch.load`, `torch.ops`, `torch.jit.load`, and no Python object behind an attribute.
2. `check_source` reads the source before torch does. The default of an argument must be a literal, since
   torch would run it while it compiles; names with two underscores, which could reach the insides of a Python
   object, are refused; and size and nesting are bounded, since compilers take their time, and recurse.
3. `check_compiled` looks at what was compiled: operators that open files or leave the interpreter are
   refused, however they were reached; and so is a function that is too long with all that it calls, since
   torch puts that in place of the calls before it runs it, and recurses over the whole.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import Any

from keymiss.errors import ScriptError

MAX_SOURCE_BYTES = 256 << 10  # torch compiles 0.1 MB a second, and holds the interpreter meanwhile
MAX_QUOTED = 80  # characters of a line in an error
_MAX_DEPTH = 250  # of expressions and blocks in each other

_MAX_CALLS = 100  # of functions in each other
_MAX_OPERATIONS = 5_000  # of a function with all that it calls; 12,000 in a row overflow a stack of 8 MB

_REACHING_OUT = ("redis::", "redisAI::")  # how such operators begin
_NAMESPACES = frozenset({"aten", "prim", "redis", "redisAI"})
_REFUSED = frozenset(
    {
        "aten::save",
        "aten::from_file",
        "aten::wait",
        "prim::PythonOp",
        "prim::IgnoredPythonOp",
        "prim::fork",
        "prim::rpc_async",
        "prim::rpc_remote",
        "prim::rpc_sync",
        "prim::awaitable",
        "prim::awaitable_wait",
        "prim::awaitable_nowait",
    }
)
# What a script may raise.
_EXCEPTIONS = (
    "AssertionError",
    "Exception",
    "IndexError",
    "KeyError",
    "NotImplementedError",
    "RuntimeError",
    "TypeError",
    "ValueError",
)


def check_source(source: str) -> None:
    """ScriptError unless torch may read this source."""
    if len(source) > MAX_SOURCE_BYTES:
        raise ScriptError(f"it is larger than {MAX_SOURCE_BYTES >> 10} KB")
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        text = (error.text or "").strip()[:MAX_QUOTED]
        raise ScriptError(f"{error.msg} (line {error.lineno}{f': {text}' if text else ''})") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ScriptError(f"it cannot be read: {error or 'it is nested too deeply'}") from None
    _check_calls({node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)})
    level: list[ast.AST] = [tree]
    for _ in range(_MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
        for node in level:
            _check_node(node)
    raise ScriptError("it is nested too deeply")


def _check_node(node: ast.AST) -> None:
    name = getattr(node, "attr", getattr(node, "id", getattr(node, "name", None)))
    if isinstance(name, str) and name.startswith("__"):
        raise ScriptError(f"{name} cannot be used in a script (line {getattr(node, 'lineno', 0)})")
    if isinstance(node, ast.arguments):
        for default in (*node.defaults, *node.kw_defaults):
            if default is not None and not _is_literal(default):
                raise ScriptError(f"the default of an argument must be a literal (line {default.lineno})")


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, (ast.List, ast.Tuple)):
        return all(map(_is_literal, node.elts))
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant)
    return isinstance(node, ast.Constant)


def _check_calls(functions: dict[str, ast.FunctionDef]) -> None:
    """ScriptError where functions name each other in too long a row: torch compiles one inside the other."""
    lengths: dict[str, int] = {}

    def length(name: str, row: tuple[str, ...]) -> int:
        if name in row:  # torch refuses it
            return 0
        if len(row) >= _MAX_CALLS:
            raise ScriptError("its functions call each other too deeply")
        if name not in lengths:
            used = {node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name)}
            lengths[name] = 1 + max(
                (length(other, (*row, name)) for other in used & functions.keys()), default=0
            )
        if len(row) + lengths[name] > _MAX_CALLS:
            raise ScriptError("its functions call each other too deeply")
        return lengths[name]

    for name in functions:
        length(name, ())


def check_compiled(torch: Any, functions: Iterable[Any]) -> set[str]:
    """The names of those functions that go straight to their end: they and what they call neither loop nor
    reach out of the script. ScriptError where a compiled function, or one that it calls, is not fit to
    run."""
    known = {function.qualified_name: function for function in functions}
    sizes: dict[str, int] = {}
    winding: set[str] = set()

    def size(name: str) -> int:
        if name not in sizes:
            function = known.get(name) or torch.jit._state._python_cu.find_function(name)
            total = 0
            for node in _nodes(function.graph):
                kind = node.kind()
                _check_kind(kind)
                total += 1
                if kind == "prim::Loop" or kind.startswith(_REACHING_OUT):
                    winding.add(name)
                if kind == "prim::CallFunction":
                    called = next(node.inputs()).type().annotation_str
                    total += size(called)
                    if called in winding:
                        winding.add(name)
                if total > _MAX_OPERATIONS:
                    raise ScriptError(f"function {name} has more than {_MAX_OPERATIONS} operations")
            sizes[name] = total
        return sizes[name]

    for name in known:
        size(name)
    return {function.name for name, function in known.items() if name not in winding}


def _check_kind(kind: str) -> None:
    if kind in _REFUSED or kind.partition("::")[0] not in _NAMESPACES:
        raise ScriptError(f"a script cannot use {kind.replace('aten::', 'torch.')}")


def _nodes(graph: Any) -> Iterator[Any]:
    blocks = [graph]
    while blocks:
        for node in blocks.pop().nodes():
            yield node
            blocks.extend(node.blocks())


def names(torch: Any, redis: ModuleType, redis_ai: ModuleType) -> Callable[[str], object]:
    """What a name of a source stands for; None for one that stands for nothing. Types such as List[Tensor]
    are torch's own affair."""
    known: dict[str, object] = {name: getattr(builtins, name) for name in _EXCEPTIONS}
    known |= {"torch": _torch_names(torch), "redis": redis, "redisAI": redis_ai}
    return known.get


@lru_cache(maxsize=1)  # what an operator is known by lives as long as the process
def _torch_names(torch: Any) -> ModuleType:
    """`torch` as scripts see it: each operator by its own name, as TorchScript outside of Python has it."""
    operators = {schema.name for schema in torch._C._jit_get_all_schemas()} - _REFUSED
    seen = ModuleType("torch")
    for name in operators:
        space, _, name = name.partition("::")
        if space == "aten" and not name.startswith("__"):
            setattr(seen, name, _operator(torch, name))
    constants = (torch.dtype, torch.layout, torch.memory_format, float)
    for name, value in vars(torch).items():
        if isinstance(value, constants) and not name.startswith("_"):
            setattr(seen, name, value)
    functional, nn, jit = ModuleType("torch.nn.functional"), ModuleType("torch.nn"), ModuleType("torch.jit")
    _add_functions(torch, torch.functional, operators, seen)
    _add_functions(torch, torch.nn.functional, operators, functional)
    vars(nn)["functional"] = functional
    vars(jit).update(annotate=torch.jit.annotate, isinstance=torch.jit.isinstance)
    vars(seen).update(nn=nn, jit=jit)
    return seen


def _operator(torch: Any, name: str) -> object:
    """Something that torch takes for the operator of that name."""
    operator = object()
    torch.jit._builtins._register_builtin(operator, f"aten::{name}")
    return operator


def _add_functions(torch: Any, module: Any, operators: set[str], seen: ModuleType) -> None:
    """Add the public functions of one of torch's modules, which are operators or TorchScript themselves, to
    `seen`, where nothing has their name."""
    for name, value in vars(module).items():
        own = isinstance(value, FunctionType) and value.__module__ == module.__name__
        if name.startswith("_") or hasattr(seen, name):
            continue
        if own or torch.jit._builtins._find_builtin(value) in operators:
            setattr(seen, name, value)
