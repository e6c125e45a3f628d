"""Imports point downwards only: each part of the package imports parts below it, and none above."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
PACKAGE = TOP / "order_lifecycle"

# The parts from the top layer down. A file that is in none of the folders is a part of its own.
LAYERS = (
    {"__main__", "lab"},
    {"cli", "lessons"},
    {"workers"},
    {"stack"},
    {"reconciliation"},
    {"client"},
    {"logs"},
    {"workflows"},
    {"activities", "failures", "jupyter"},
    {"db"},
    {"faults", "settings", "streams"},
    {"domain", "environment", "temporal_compat", "visible", "waiting", "__init__"},
    {"countries", "isolated"},
)
# In a fixed order: a set has another one in each process of pytest, which then refuse to share the tests.
LAYER_OF = {part: number for number, parts in enumerate(LAYERS) for part in sorted(parts)}
# The sentence of the layout, arrow by arrow.
ARROWS = [
    *(("cli", "stack"), ("cli", "workers"), ("lab", "cli"), ("lab", "stack"), ("lab", "workers")),
    *(("workers", "stack"), ("workers", "client"), ("client", "workflows"), ("workflows", "activities")),
    *(("activities", "db"), ("db", "domain")),
]
# Who may not import the lab: the command line and the benchmarks, and the tests of every other part.
PARTS = ("chaos", "cli", "db", "fuzz", "security", "stack", "workers", "workflows")
WITHOUT_LAB = ["benchmarks", *(f"tests/{part}" for part in PARTS)]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    return {module_of(path): path for path in PACKAGE.rglob("*.py")}


def imports(path: Path) -> Iterator[str]:
    """Yield the modules of the package that the file imports anywhere, also for type checks."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("order_lifecycle"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("order_lifecycle"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules() else str(node.module)


@cache
def graph() -> dict[str, frozenset[str]]:
    return {module: frozenset(imports(path)) - {module} for module, path in modules().items()}


def part_of(module: str) -> str:
    """Return the part of a module: `order_lifecycle.db.store` is in the part `db`."""
    return (*module.split("."), "__init__")[1]


@cache
def arrows() -> frozenset[tuple[str, str]]:
    return frozenset((part_of(module), part_of(other)) for module, others in graph().items() for other in others)


def test_every_part_has_its_layer() -> None:
    assert {part_of(module) for module in modules()} == set(LAYER_OF)


@pytest.mark.parametrize("part", LAYER_OF)
def test_imports_point_downwards_only(part: str) -> None:
    upwards = {
        f"{module} imports {other}"
        for module, others in graph().items()
        for other in others
        if part_of(module) == part != part_of(other) and LAYER_OF[part] >= LAYER_OF[part_of(other)]
    }
    assert upwards == set()


@pytest.mark.parametrize(("above", "below"), ARROWS)
def test_each_arrow_of_the_layout_exists_and_points_down(above: str, below: str) -> None:
    assert (above, below) in arrows()
    assert LAYER_OF[above] < LAYER_OF[below]


def test_there_are_no_import_cycles() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@pytest.mark.parametrize("folder", WITHOUT_LAB)
def test_only_notebooks_import_the_lab(folder: str) -> None:
    files = sorted((TOP / folder).rglob("*.py"))
    assert files
    assert [path.name for path in files for module in imports(path) if part_of(module) == "lab"] == []
