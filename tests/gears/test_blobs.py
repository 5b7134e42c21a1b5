"""Functions as bytes: what they share, what is taken from where they are loaded, what cannot be saved."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from keymiss.errors import GearsError
from keymiss.functions import blobs


def script(source: str, names: dict[str, Any]) -> dict[str, Any]:
    """The globals of a script that was executed."""
    globals_ = {"__name__": "__main__", **names}
    exec(compile(source, "<string>", "exec"), globals_)
    return globals_


COUNTING = """
count = 0
def add():
    global count
    count += 1
    return count
def told():
    return count
"""


def test_functions_saved_apart_share_their_globals_again() -> None:
    original = script(COUNTING, {})
    saved = [blobs.dump(original[name], {}, original) for name in ("add", "told")]
    elsewhere: dict[str, Any] = {}
    add, told = [blobs.load(blob, {}, elsewhere) for blob in saved]
    add()
    assert (add(), told(), original["count"]) == (2, 2, 0)


def test_names_of_scripts_are_those_of_the_worker_that_loads() -> None:
    here, there = {"execute": lambda *argv: "here"}, {"execute": lambda *argv: "there"}
    original = script("def f(): return execute('GET', 'k')", here)
    blob = blobs.dump(original["f"], here, original)
    assert blobs.load(blob, there, {})() == "there"


def test_what_loaded_functions_define_has_the_builtins_of_their_session() -> None:
    """By these a session imports what it requires."""
    original = script("def f():\n    def g(): return told()\n    return g()", {})
    there: dict[str, Any] = {"__builtins__": {**vars(builtins), "told": lambda: "there"}}
    assert blobs.load(blobs.dump(original["f"], {}, original), {}, there)() == "there"


def test_a_name_that_this_worker_does_not_have_is_an_error() -> None:
    here = {"newer": lambda: None}
    original = script("def f(): return newer()", here)
    with pytest.raises(GearsError, match="does not know the name 'newer'"):
        blobs.load(blobs.dump(original["f"], here, original), {}, {})


def test_what_cannot_be_saved_is_an_error_that_says_what() -> None:
    original = script("g = (i for i in range(3))\ndef f(): return g", {})
    with pytest.raises(GearsError, match="generator"):
        blobs.dump(original["f"], {}, original)


def test_a_missing_module_is_an_error_that_names_it() -> None:
    import sys
    import types

    sys.modules["zz_passing"] = module = types.ModuleType("zz_passing")
    module.__file__ = "zz_passing.py"
    original = script("import zz_passing\ndef f(): return zz_passing", {})
    blob = blobs.dump(original["f"], {}, original)
    del sys.modules["zz_passing"]
    with pytest.raises(GearsError, match="zz_passing"):
        blobs.load(blob, {}, {})


def test_what_would_end_the_process_when_it_is_loaded_is_an_error() -> None:
    leaving = "class Leaving:\n    def __setstate__(self, state): raise SystemExit('not configured')\n"
    original = script(f"{leaving}thing = Leaving()\nthing.n = 1\ndef f(): return thing", {})
    blob = blobs.dump(original["f"], {}, original)
    with pytest.raises(GearsError, match="could not be loaded: SystemExit: not configured"):
        blobs.load(blob, {}, {})
