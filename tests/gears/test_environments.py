"""Environments: modules of one name side by side, seen by those that require them and by nobody else."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keymiss.errors import GearsError
from keymiss.functions import blobs
from keymiss.functions.environments import Environment
from keymiss.functions.installing import missing

Make = Callable[..., Environment]


@pytest.fixture
def make_environment(tmp_path: Path) -> Iterator[Make]:
    """Makes and adds environments of these files."""
    made: list[Environment] = []

    def make(files: dict[str, str]) -> Environment:
        folder = tmp_path / str(len(made))
        for name, source in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(source)
        made.append(Environment(folder))
        made[-1].add()
        return made[-1]

    yield make
    for environment in made:
        environment.remove()
    for name in [name for name in sys.modules if name.startswith("zz_")]:
        del sys.modules[name]


def run(source: str, environment: Environment | None = None) -> dict[str, Any]:
    """The globals of a script of this environment."""
    names: dict[str, Any] = {"__name__": "__main__"}
    if environment is not None:
        names["__builtins__"] = environment.builtins
    exec(source, names)
    return names


def package(version: int) -> dict[str, str]:
    return {
        "zz_one/__init__.py": f"from .below import told\nVERSION = {version}\n",
        "zz_one/below.py": (
            "def told():\n    from . import VERSION\n    import zz_one\n    return VERSION, zz_one.VERSION\n"
        ),
        "zz_one/late.py": f"import zz_two\nTHERE = {version}, zz_two.HERE\n",
        "zz_two.py": f"HERE = {version}\n",
    }


def test_each_script_has_the_version_that_it_requires(make_environment: Make) -> None:
    script = (
        "import zz_one.below\nfrom zz_one import VERSION\n"
        "def late():\n    import zz_one.late as late\n    return late.THERE\n"
    )
    first, second = make_environment(package(1)), make_environment(package(2))
    scripts = [run(script, first), run(script, second)]
    assert [names["VERSION"] for names in scripts] == [1, 2]
    assert [names["zz_one"].below.told() for names in scripts] == [(1, 1), (2, 2)]
    assert [names["late"]() for names in scripts] == [(1, 1), (2, 2)]


def test_the_last_one_that_brings_a_name_holds_it_for_all(make_environment: Make) -> None:
    first, second = make_environment(package(1)), make_environment(package(2))
    assert run("import zz_one", first)["zz_one"].VERSION == 1
    assert run("import zz_one")["zz_one"].VERSION == 2
    second.remove()
    assert run("import zz_one")["zz_one"].VERSION == 1
    assert run("import zz_one", second)["zz_one"].VERSION == 2, "who has it still can import it"
    second.add()


def test_a_name_of_the_worker_stays_the_workers(make_environment: Make) -> None:
    import iniconfig

    environment = make_environment({"iniconfig.py": "import sys\nOTHER = True\nME = sys.modules[__name__]\n"})
    theirs = run("import iniconfig", environment)["iniconfig"]
    assert theirs.OTHER and theirs.ME is theirs
    assert run("import iniconfig")["iniconfig"] is iniconfig is sys.modules["iniconfig"]
    assert run("import iniconfig", environment)["iniconfig"] is theirs, "it is loaded once"


def test_names_of_the_standard_library_are_never_replaced(make_environment: Make) -> None:
    environment = make_environment({"json.py": "OTHER = True\n"})
    assert not hasattr(run("import json", environment)["json"], "OTHER")


def test_import_module_and_metadata_follow_the_environment(make_environment: Make) -> None:
    info = {"zz_one-%d.dist-info/METADATA": "Metadata-Version: 2.1\nName: zz-one\nVersion: %d\n"}
    both = []
    for number in (1, 2):
        metadata = {name % number: text % number for name, text in info.items()}
        versions = {
            "zz_one/version.py": "from importlib.metadata import version\nFOUND = version('zz-one')\n"
        }
        both.append(make_environment(package(number) | metadata | versions))
    script = (
        "import importlib\nlate = importlib.import_module('zz_one.late').THERE\n"
        "from zz_one.version import FOUND"
    )
    assert [(names["late"], names["FOUND"]) for names in (run(script, one) for one in both)] == [
        ((1, 1), "1"),
        ((2, 2), "2"),
    ]


def test_an_import_that_fails_leaves_everything_as_it_was(make_environment: Make) -> None:
    import iniconfig

    environment = make_environment({"iniconfig.py": "raise ValueError('broken')\n"})
    before = list(sys.path)
    with pytest.raises(ValueError, match="broken"):
        run("import iniconfig", environment)
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        run("import zz_one.nowhere", make_environment(package(1)))
    assert sys.modules["iniconfig"] is iniconfig and sys.path == before


def test_others_wait_while_a_contested_name_is_imported(make_environment: Make) -> None:
    import iniconfig

    environment = make_environment(
        {"iniconfig.py": "import builtins\nbuiltins.zz_started.set()\nbuiltins.zz_go_on.wait(10)\n"}
    )
    started, go_on, seen = threading.Event(), threading.Event(), []
    vars(__import__("builtins")).update(zz_started=started, zz_go_on=go_on)
    threads = [
        threading.Thread(target=run, args=("import iniconfig", environment)),
        threading.Thread(target=lambda: seen.append(run("import iniconfig")["iniconfig"])),
    ]
    threads[0].start()
    assert started.wait(10)
    threads[1].start()
    assert run("import json")["json"], "other names are not waited for"
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert seen == [iniconfig]


def test_functions_are_saved_and_loaded_with_their_environment(make_environment: Make) -> None:
    script = (
        "import zz_one\nfrom zz_one.below import told\n"
        "def all_three():\n    import zz_two\n    return zz_one.VERSION, told(), zz_two.HERE\n"
    )
    first, _ = make_environment(package(1)), make_environment(package(2))
    names = run(script, first)
    saved = blobs.dump(names["all_three"], {}, names)
    elsewhere: dict[str, Any] = {"__builtins__": first.builtins}
    assert blobs.load(saved, {}, elsewhere)() == (1, (1, 1), 1)


def test_a_requirement_with_extras_needs_what_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, needs in {
        "zz_base": "Requires-Dist: zz-other>=2; extra == 'more'\nRequires-Dist: zz-absent; extra == 'most'\n",
        "zz_other": "",
    }.items():
        folder = tmp_path / f"{name}-2.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n{needs}")
    monkeypatch.syspath_prepend(str(tmp_path))
    satisfied = ["zz-base", "zz_base>=1,<3", "Zz.Base[more]", "zz-absent; python_version < '3'"]
    lacking = ["zz-base>2", "zz-base[most]", "zz-base[more,most]", "zz-absent", "zz-base @ file:///zz_base"]
    assert missing([*satisfied, *lacking]) == lacking
    with pytest.raises(GearsError, match="Invalid requirement 'zz base'"):
        missing(["zz base"])
