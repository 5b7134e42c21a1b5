"""The dashboards are what Grafana's own types (npm: @grafana/schema) say a dashboard is: each panel with the
options of its kind, and nothing that no version knows."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import node
from support.paths import REPOSITORY

SCHEMA = Path(__file__).parent / "schema"
DASHBOARDS = sorted((REPOSITORY / "grafana" / "dashboards").rglob("*.json"))
VERSIONS = ("grafana-12", "grafana-13")

# Types of TypeScript for what JSON has in their place: members of an enum are their values, and queries of
# annotations are their data source's, as the schema itself says they should be.
PRELUDE = """
type Json<T> =
    T extends string ? `${T}`
    : T extends number ? (`${T}` extends `${infer N extends number}` ? N : T)
    : T extends (infer E)[] ? Json<E>[]
    : T extends object ? { [K in keyof T]: Json<T[K]> }
    : T;
type Annotation = Omit<schema.AnnotationQuery, "target">
    & { target: { refId: string; expr: string; instant: boolean; range: boolean; legendFormat: string } };
type Page = Json<
    Omit<schema.Dashboard, "panels" | "annotations"> & { annotations: { list?: Annotation[] } }
>;
type Row = Json<schema.RowPanel>;
type Panel<Options, Custom> = Json<Omit<schema.Panel, "options" | "fieldConfig">> & {
    options: Json<Partial<Options>>;
    fieldConfig: {
        defaults: Json<Omit<schema.FieldConfig, "custom">> & { custom?: Json<Custom> };
        overrides: Json<schema.FieldConfigSource["overrides"]>;
    };
};
"""
WITHOUT_FIELDS = {"stat", "bargauge"}  # whose fields have no settings of the panel's own


@pytest.fixture(scope="module")
def packages() -> Path:
    return node.packages("grafana-schema", SCHEMA)


def _program(dashboards: dict[str, dict[str, Any]], version: str) -> str:
    """TypeScript that compiles where each of `dashboards` is one."""
    types = f"./node_modules/{version}/dist/types/raw"
    kinds: set[str] = set()
    lines = []
    for number, (name, dashboard) in enumerate(dashboards.items()):
        page = {key: value for key, value in dashboard.items() if key != "panels"}
        lines.append(f"const page{number}: Page = {json.dumps(page)}; // {name}")
        for place, panel in enumerate(dashboard["panels"]):
            kind = panel["type"].replace("-", "")
            if kind == "row":
                of = "Row"
            else:
                kinds.add(kind)
                custom = "Record<string, never>" if kind in WITHOUT_FIELDS else f"{kind}.FieldConfig"
                of = f"Panel<{kind}.Options, {custom}>"
            lines.append(
                f"const panel{number}_{place}: {of} = {json.dumps(panel)}; // {name} {panel['title']}"
            )
    imports = [f'import type * as schema from "{types}/dashboard/x/types.gen";']
    imports += [
        f'import type * as {kind} from "{types}/composable/{kind}/panelcfg/x/types.gen";'
        for kind in sorted(kinds)
    ]
    return "\n".join([*imports, PRELUDE, *lines, "export {};", ""])


def _errors(packages: Path, name: str, program: str) -> list[str]:
    """What the compiler says of it, with the title of the panel."""
    (packages / f"{name}.ts").write_text(program, encoding="utf-8")
    options = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022"]
    options += ["--module", "esnext", "--moduleResolution", "bundler"]
    status, said = node.run_script(packages, "node_modules/typescript/lib/tsc.js", *options, f"{name}.ts")
    lines = program.splitlines()
    errors = []
    for error in said.splitlines():
        if error.startswith(f"{name}.ts("):
            line = int(error.partition("(")[2].partition(",")[0])
            errors.append(f"{lines[line - 1].rpartition('// ')[2]}: {error[:400]}")
    assert status == 0 or errors, said
    return errors


@pytest.mark.parametrize("version", VERSIONS)
def test_dashboards_are_what_grafana_calls_one(packages: Path, version: str) -> None:
    dashboards = {f"{path.parent.name}/{path.name}": json.loads(path.read_text()) for path in DASHBOARDS}

    assert len(dashboards) == 7
    assert _errors(packages, version, _program(dashboards, version)) == []


def _spoilt() -> Iterator[tuple[str, dict[str, Any]]]:
    """A dashboard with one thing wrong, by what that is."""
    path = next(path for path in DASHBOARDS if path.name == "overview.json")
    good = json.loads(path.read_text())

    def spoil(*way: str | int, value: object) -> dict[str, Any]:
        spoilt = copy.deepcopy(good)
        part: Any = spoilt
        for step in way[:-1]:
            part = part[step]
        part[way[-1]] = value
        return spoilt

    graph = next(place for place, panel in enumerate(good["panels"]) if panel["type"] == "timeseries")
    custom = ("panels", graph, "fieldConfig", "defaults", "custom")
    yield "unknown option", spoil("panels", graph, "options", "legends", value={})
    yield "unknown value", spoil(*custom, "drawStyle", value="lines")
    yield "wrong type", spoil(*custom, "fillOpacity", value="8")
    yield "unknown part of the page", spoil("refreshed", value="10s")


def test_the_check_finds_what_is_wrong(packages: Path) -> None:
    spoilt = dict(_spoilt())

    errors = _errors(packages, "spoilt", _program(spoilt, VERSIONS[0]))

    assert {error.partition(" ")[0] for error in errors} == {name.partition(" ")[0] for name in spoilt}
    assert len(errors) == len(spoilt), errors
