"""The saved notebooks are what they must be, and the rules that say so can tell."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from rules import NOTEBOOKS, faults

from order_lifecycle.lab import state_diagram


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_keeps_all_the_rules(path: Path) -> None:
    assert faults(nbformat.read(path, as_version=4)) == []


def test_there_are_notebooks() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(len(NOTEBOOKS))]
    assert len(NOTEBOOKS) >= 4


def test_the_picture_of_the_states_is_the_one_that_the_lab_draws() -> None:
    file = NOTEBOOKS[0].parent / "images" / "states.svg"
    assert file.read_text() == f"{state_diagram().data!s}\n", "write it anew with lab.state_diagram().data"


def first(notebook: Any, kind: str) -> Any:
    return next(cell for cell in notebook.cells if cell.cell_type == kind)


def output(**data: str) -> Any:
    return nbformat.v4.new_output("execute_result", {key.replace("_", "/"): value for key, value in data.items()})


def never_run(notebook: Any) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = None, []


def out_of_order(notebook: Any) -> None:
    first(notebook, "code").execution_count = 99


def with_an_error(notebook: Any) -> None:
    first(notebook, "code").outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])]


def with_a_warning(notebook: Any) -> None:
    first(notebook, "code").outputs = [nbformat.v4.new_output("stream", name="stderr", text="Warning: old")]


def with_a_path(notebook: Any) -> None:
    first(notebook, "code").outputs = [output(text_plain="/home/somebody/orders")]


def with_a_picture_that_says_nothing(notebook: Any) -> None:
    first(notebook, "code").outputs = [output(image_png="")]


def with_an_empty_alt_text(notebook: Any) -> None:
    first(notebook, "markdown").source += "\n\n![](images/states.svg)"


def without_a_picture(notebook: Any) -> None:
    first(notebook, "markdown").source += "\n\n![a picture](images/none.svg)"


def without_objectives(notebook: Any) -> None:
    cell = first(notebook, "markdown")
    cell.source = cell.source.replace("**You will learn**", "")


def without_a_recap(notebook: Any) -> None:
    for cell in notebook.cells:
        cell.source = cell.source.replace("## Recap", "## Well")


def ignoring_without_a_reason(notebook: Any) -> None:
    first(notebook, "code").source += "\n# NBVAL_IGNORE_OUTPUT"


def naming_what_does_not_exist(notebook: Any) -> None:
    first(notebook, "markdown").source += "\n\nSee `order_lifecycle/magic.py`."


def calling_what_does_not_exist(notebook: Any) -> None:
    first(notebook, "markdown").source += "\n\nCall `lab.magic()`."


def with_times_of_running(notebook: Any) -> None:
    first(notebook, "code").metadata["execution"] = {"iopub.execute_input": "2020-01-01"}


def with_a_wrong_solution(notebook: Any) -> None:
    cell = next(cell for cell in notebook.cells if "solution" in cell.metadata.get("tags", []))
    cell.outputs = [output(text_plain="✗ Not yet.")]


def without_a_mistake(notebook: Any) -> None:
    notebook.cells.remove(next(cell for cell in notebook.cells if "mistake" in cell.metadata.get("tags", [])))


SPOILS = [
    *(never_run, out_of_order, with_an_error, with_a_warning, with_a_path, with_a_picture_that_says_nothing),
    *(with_an_empty_alt_text, without_a_picture, without_objectives, without_a_recap, ignoring_without_a_reason),
    *(naming_what_does_not_exist, calling_what_does_not_exist, with_times_of_running, with_a_wrong_solution),
    without_a_mistake,
]


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_spoiled_notebook_is_refused(spoil: Callable[[Any], None]) -> None:
    notebook = copy.deepcopy(nbformat.read(NOTEBOOKS[1], as_version=4))
    spoil(notebook)
    assert faults(notebook) != []
