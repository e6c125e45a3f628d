"""Every page has the same form: its beginning, its end, and what fits on a screen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

from .cells import FENCED, code, markdown, prose, tags

FIRST_CELL = {
    "title": r"\A# \w",
    "list of what you will learn": r"^\*\*You will learn\*\*\n\n- \w",
    "time that it takes": r"^\*\*Time\*\* \d+ minutes",
    "word on what it needs": r"\*\*Needs\*\* \S",
}
SECTIONS = ("Recap", "Try it")
TAGS = {"solution", "mistake", "raises-exception"}
LINES = 25  # of code, which a screen has room for beside its output
SHOWN = 45  # of an output, likewise


def faults(notebook: Any) -> Iterator[str]:
    yield from _run_once(notebook)
    yield from _page(notebook)
    for cell in markdown(notebook):
        yield from _prose_cell(cell)
    for cell in code(notebook):
        if not cell.source.strip():
            yield f"cell {cell.id} is empty"
        if (lines := len(cell.source.splitlines())) > LINES:
            yield f"cell {cell.id} has {lines} lines of code, more than the {LINES} that a screen has room for"
        if (lines := sum(len(plain(output).splitlines()) for output in cell.outputs)) > SHOWN:
            yield f"cell {cell.id} shows {lines} lines, more than the {SHOWN} that a screen has room for"


def plain(output: Any) -> str:
    """Return an output as text, which each output has beside its HTML."""
    return str(output.get("text") or output.get("data", {}).get("text/plain", ""))


def _run_once(notebook: Any) -> Iterator[str]:
    counts = [cell.execution_count for cell in code(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"not run once from top to bottom: the execution counts are {counts}"
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "its kernel is not the ordinary one, python3"
    for cell in notebook.cells:
        if unknown := {*cell.metadata} - {"tags", "jupyter"} | {*tags(cell)} - TAGS:
            yield f"cell {cell.id} has metadata that nobody needs: {', '.join(sorted(unknown))}"


def _page(notebook: Any) -> Iterator[str]:
    for what, pattern in FIRST_CELL.items():
        if not re.search(pattern, notebook.cells[0].source, re.MULTILINE):
            yield f"its first cell has no {what}"
    for section in SECTIONS:
        if not any(re.search(rf"^## {section}\n\s*[^\s#]", cell.source, re.MULTILINE) for cell in markdown(notebook)):
            yield f'it has no section "{section}" with a word in it'
    before_code = takewhile(lambda cell: cell.cell_type == "markdown", notebook.cells)
    if not any(re.search(r"!\[|<img\b", cell.source) for cell in before_code):
        yield "it has no diagram before its first code"
    if "**Predict.**" not in prose(notebook):
        yield "it never asks for a prediction"
    if "https://docs.temporal.io/" not in prose(notebook):
        yield "it has no link to Temporal's documentation"
    if not any("lab.source(" in cell.source for cell in code(notebook)):
        yield "it shows no source of the package"


def _prose_cell(cell: Any) -> Iterator[str]:
    below_the_top = FENCED.sub("", cell.source).strip().splitlines()[1:]
    if heading := next((line for line in below_the_top if re.match(r"#{1,6} ", line)), None):
        yield f"cell {cell.id} has a heading that is not at its beginning: {heading}"
    if cell.source.count("**Predict.**") != cell.source.count("<summary>Answer</summary>"):
        yield f"cell {cell.id} asks for a prediction without a folded answer, or answers what it did not ask"
