"""The dashboards are what Grafana's own types (npm: @grafana/schema) say a dashboard is: each panel with the
options of its kind, and nothing that no version knows."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import node
from support.paths import REPOSITORY

SCHEMA = Path(__file__).parent / "schema"
FOLDER = REPOSITORY / "grafana" / "dashboards"
DASHBOARDS = sorted(FOLDER.rglob("*.json"))
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


@pytest.fixture(scope="module")
def errors() -> dict[str, list[str]]:
    """What the compiler finds in the dashboards by each version of the schema, and in spoilt ones: one run of
    it, since most of its time goes into its own library. Each error begins with where it is."""
    dashboards = {path.relative_to(FOLDER).as_posix(): json.loads(path.read_text()) for path in DASHBOARDS}
    programs = {version: _program(dashboards, version) for version in VERSIONS}
    programs["spoilt"] = _program(dict(_spoilt()), VERSIONS[0])
    folder = node.packages("grafana-schema", SCHEMA)
    for name, program in programs.items():
        (folder / f"{name}.ts").write_text(program, encoding="utf-8")
    options = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022"]
    options += ["--module", "esnext", "--moduleResolution", "bundler"]
    files = [f"{name}.ts" for name in programs]
    said = node.run_script(folder, "node_modules/typescript/bin/tsc", *options, *files)
    found: dict[str, list[str]] = {name: [] for name in programs}
    for error in said.splitlines():
        if not error.startswith(" "):  # else it explains the error before
            at = re.match(r"(.+)\.ts\((\d+),", error)
            assert at, said
            line = programs[at[1]].splitlines()[int(at[2]) - 1]
            found[at[1]].append(f"{line.rpartition('// ')[2]}: {error[:400]}")
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_dashboards_are_what_grafana_calls_one(errors: dict[str, list[str]], version: str) -> None:
    assert len(DASHBOARDS) == 7
    assert errors[version] == []


def test_the_check_finds_what_is_wrong(errors: dict[str, list[str]]) -> None:
    spoilt = [name for name, _ in _spoilt()]

    assert len(errors["spoilt"]) == len(spoilt), errors["spoilt"]
    assert all(error.startswith(name) for error, name in zip(errors["spoilt"], spoilt, strict=True))


def test_the_schema_is_of_the_grafana_in_the_containers() -> None:
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    dependencies = json.loads((SCHEMA / "package.json").read_text())["dependencies"]

    image, _, version = services["grafana"]["image"].partition(":")
    assert image == "grafana/grafana"
    assert dependencies["grafana-12"] == f"npm:@grafana/schema@{version}"


def _spoilt() -> Iterator[tuple[str, dict[str, Any]]]:
    """A dashboard with one thing wrong, by what that is."""
    good = json.loads((FOLDER / "prometheus" / "overview.json").read_text())

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
