"""Each exercise has a check that fails at first, a solution, and a typical mistake that the check names.

All of them answer the same question.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .cells import tags

NAME = re.compile(r"\*\*(Exercise \d+)\.\*\*")


@dataclass
class Exercise:
    """The code cells of an exercise. `unsolved`: those before the solution; the last of them has the check."""

    name: str
    unsolved: list[Any] = field(default_factory=list)
    solution: list[Any] = field(default_factory=list)
    mistake: list[Any] = field(default_factory=list)


def faults(notebook: Any) -> Iterator[str]:
    found = list(_exercises(notebook))
    if not 2 <= len(found) <= 3:
        yield f"it has {len(found)} exercises, not two or three"
    for exercise in found:
        yield from (f"{exercise.name}: {fault}" for fault in _exercise(exercise))
    yield from _folded(notebook)


def _exercises(notebook: Any) -> Iterator[Exercise]:
    exercise = None
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (name := NAME.search(cell.source)):
            if exercise:
                yield exercise
            exercise = Exercise(name[1])
        elif exercise and cell.cell_type == "code":
            kind = next((tag for tag in ("solution", "mistake") if tag in tags(cell)), "unsolved")
            if kind != "unsolved" or not exercise.solution:
                getattr(exercise, kind).append(cell)
    if exercise:
        yield exercise


def _exercise(exercise: Exercise) -> Iterator[str]:
    unsolved = exercise.unsolved[-1:]
    parts = {"unsolved form": unsolved, "solution": exercise.solution, "mistake": exercise.mistake}
    for kind, cells in parts.items():
        if not any(_check(cell) for cell in cells):
            yield f"there is no check of its {kind}"
        for cell in cells:
            said, sign = _said(cell), "✓" if kind == "solution" else "✗"
            if _check(cell) and not said.startswith(sign):
                yield f"the check of its {kind} should begin with {sign} and says {said[:40]!r}"
    for cell in [*exercise.solution, *exercise.mistake]:
        if unsolved and _check(cell) != _check(unsolved[0]):
            yield f"cell {cell.id} ends with another check than the unsolved form: {_check(cell)}"
    if unsolved and any(_said(mistake) == _said(unsolved[0]) for mistake in exercise.mistake):
        yield f"its mistake is told the same as its unsolved form: {_said(unsolved[0])[:40]!r}"
    asked = {params for cell in exercise.unsolved for params in _parameters(cell)}
    if not asked <= {params for cell in exercise.solution for params in _parameters(cell)}:
        yield f"its solution has no function with the parameters of its unsolved form: {', '.join(sorted(asked))}"


def _folded(notebook: Any) -> Iterator[str]:
    for before, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        for kind in {"solution", "mistake"} & {*tags(cell)}:
            if not cell.metadata.get("jupyter", {}).get("source_hidden"):
                yield f"cell {cell.id}: the {kind} is not folded"
            if not cell.source.startswith(f"# {kind.capitalize()}\n"):
                yield f"cell {cell.id}: the {kind} does not begin with # {kind.capitalize()}"
            if not before.source.startswith("<details>"):
                yield f"cell {cell.id}: what is said of the {kind} is not folded"


def _check(cell: Any) -> str:
    """Return the call at the end of the cell that checks the answer, without the answer; "" if there is none."""
    match _statements(cell)[-1:]:
        case [ast.Expr(ast.Call(ast.Attribute(ast.Name("lab"), name), args, keywords))] if name.startswith("check_"):
            given = ["…", *(ast.unparse(each) for each in [*args[1:], *keywords])]
            return f"lab.{name}({', '.join(given)})"
    return ""


def _parameters(cell: Any) -> Iterator[str]:
    """Yield the parameters of each function in the cell."""
    for statement in _statements(cell):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"({ast.unparse(statement.args)})"


def _statements(cell: Any) -> list[ast.stmt]:
    """Return the statements of the cell, without IPython's own commands."""
    return ast.parse(re.sub(r"^[%!].*", "", cell.source, flags=re.MULTILINE)).body


def _said(cell: Any) -> str:
    return "".join(output.get("data", {}).get("text/plain", "") for output in cell.outputs)
