"""The saved notebooks keep the rules, and each rule finds a notebook that breaks it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nbformat
import pytest

from order_lifecycle.lab import state_diagram
from tests.notebooks.rules import NOTEBOOKS, TOP, faults
from tests.notebooks.rules.outputs import LISTED


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_notebook_keeps_all_the_rules(path: Path) -> None:
    assert faults(nbformat.read(path, as_version=4)) == []


def test_the_notebooks_are_numbered_without_gaps() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(len(NOTEBOOKS))]
    assert len(NOTEBOOKS) >= 4


def test_the_list_of_cells_that_are_not_compared_is_complete() -> None:
    ignored = {
        cell.id
        for path in NOTEBOOKS
        for cell in nbformat.read(path, as_version=4).cells
        if "# NBVAL_IGNORE_OUTPUT" in cell.source
    }
    assert ignored == LISTED


@pytest.mark.parametrize("path", sorted((TOP / "notebooks" / "images").glob("*.svg")), ids=lambda path: path.stem)
def test_each_picture_has_a_white_background_for_dark_themes(path: Path) -> None:
    drawing = ElementTree.parse(path).getroot()
    ground = drawing.find("{*}rect")
    assert ground is not None
    assert ground.get("fill") == "#ffffff"
    box = [float(number) for number in str(drawing.get("viewBox")).split()]
    assert [float(ground.get(name, 0)) for name in ("x", "y", "width", "height")] == box


def test_the_saved_picture_of_the_states_is_up_to_date() -> None:
    file = NOTEBOOKS[0].parent / "images" / "states.svg"
    assert file.read_text() == f"{state_diagram().data!s}\n", "write it anew with lab.state_diagram().data"


# --- each rule refuses what it is for ---------------------------------------------------------------------------------

Spoil = Callable[[Any], Any]


def cells(notebook: Any, kind: str) -> list[Any]:
    return [cell for cell in notebook.cells if kind in (cell.cell_type, *cell.metadata.get("tags", []))]


def saying(text: str) -> Spoil:
    def spoil(notebook: Any) -> None:
        cells(notebook, "markdown")[1].source += f"\n\n{text}"

    return spoil


def showing(text: str, name: str = "stdout") -> Spoil:
    return with_output(nbformat.v4.new_output("stream", name=name, text=text))


def with_output(output: Any) -> Spoil:
    def spoil(notebook: Any) -> None:
        cells(notebook, "code")[0].outputs = [output]

    return spoil


def of_kind(mime: str, data: str) -> Any:
    return nbformat.v4.new_output("display_data", {mime: data})


def coding(*lines: str) -> Spoil:
    def spoil(notebook: Any) -> None:
        cells(notebook, "code")[0].source += "\n" + "\n".join(lines)

    return spoil


def instead(old: str, new: str, kind: str = "") -> Spoil:
    """Return a change that replaces a text in every cell, or in those of one kind."""

    def spoil(notebook: Any) -> None:
        found = [cell for cell in (cells(notebook, kind) if kind else notebook.cells) if old in cell.source]
        assert found, f"there is no {old!r} to spoil"
        for cell in found:
            cell.source = cell.source.replace(old, new)

    return spoil


def never_run(notebook: Any) -> None:
    for cell in cells(notebook, "code"):
        cell.execution_count, cell.outputs = None, []


def out_of_order(notebook: Any) -> None:
    cells(notebook, "code")[0].execution_count = 99


def with_times_of_running(notebook: Any) -> None:
    cells(notebook, "code")[0].metadata["execution"] = {"iopub.execute_input": "2020-01-01"}


def skipped_by_a_tag(notebook: Any) -> None:
    cells(notebook, "code")[0].metadata["tags"] = ["nbval-skip"]


def in_another_kernel(notebook: Any) -> None:
    notebook.metadata["kernelspec"]["name"] = "my-own"


def empty(notebook: Any) -> None:
    cells(notebook, "code")[-1].source = ""


def without_a_diagram(notebook: Any) -> None:
    for cell in notebook.cells:
        cell.source = cell.source.replace("![", "[")


def without_a_word_of_recap(notebook: Any) -> None:
    recap = next(cell for cell in notebook.cells if "## Recap\n" in cell.source)
    recap.source = "## Recap\n\n"


ERROR = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])


def meant_to_fail(notebook: Any) -> None:
    cell = cells(notebook, "code")[0]
    cell.outputs, cell.metadata["tags"] = [ERROR], ["raises-exception"]


def meant_to_fail_and_explained(notebook: Any) -> None:
    meant_to_fail(notebook)
    number = notebook.cells.index(cells(notebook, "code")[0])
    notebook.cells.insert(number + 1, nbformat.v4.new_markdown_cell("A ValueError, because it is no number."))


def ignoring_two(notebook: Any) -> None:
    for cell in cells(notebook, "code")[:2]:
        cell.source += "\n# NBVAL_IGNORE_OUTPUT\n# because of this"


def without(kind: str) -> Spoil:
    def spoil(notebook: Any) -> None:
        notebook.cells.remove(cells(notebook, kind)[0])

    return spoil


def saying_of(kind: str, text: str) -> Spoil:
    def spoil(notebook: Any) -> None:
        cells(notebook, kind)[0].outputs = [of_kind("text/plain", text)]

    return spoil


def open_to_all(kind: str) -> Spoil:
    def spoil(notebook: Any) -> None:
        del cells(notebook, kind)[0].metadata["jupyter"]

    return spoil


def with_a_mistake_that_is_not_told_apart(notebook: Any) -> None:
    unsolved = next(cell for cell in notebook.cells if cell.source.startswith("lab.check_"))
    cells(notebook, "mistake")[0].outputs = copy.deepcopy(unsolved.outputs)


def without_exercises(notebook: Any) -> None:
    number = next(number for number, cell in enumerate(notebook.cells) if "**Exercise 1.**" in cell.source)
    notebook.cells = notebook.cells[:number]


# Text of a fault, and what leads to it.
SPOILS: list[tuple[str, Spoil]] = [
    # form
    ("not run once from top to bottom", never_run),
    ("not run once from top to bottom", out_of_order),
    ("its kernel is not the ordinary one", in_another_kernel),
    ("has metadata that nobody needs: execution", with_times_of_running),
    ("has metadata that nobody needs: nbval-skip", skipped_by_a_tag),
    ("its first cell has no title", instead("# Take one order", "Take one order")),
    ("its first cell has no list of what you will learn", instead("**You will learn**", "**You will**")),
    ("its first cell has no list of what you will learn", instead("\n- ", "\n", "markdown")),
    ("its first cell has no time that it takes", instead("**Time**", "**Times**")),
    ("its first cell has no word on what it needs", instead("**Needs**", "")),
    ('it has no section "Recap" with a word in it', instead("## Recap", "## Well")),
    ('it has no section "Recap" with a word in it', without_a_word_of_recap),
    ('it has no section "Try it" with a word in it', instead("## Try it", "## Well")),
    ("it has no diagram before its first code", without_a_diagram),
    ("has a heading that is not at its beginning: ## 99. More", saying("## 99. More")),
    ("asks for a prediction without a folded answer", saying("**Predict.** What comes?")),
    ("it never asks for a prediction", instead("**Predict.**", "Predict.")),
    ("it has no link to Temporal's documentation", instead("docs.temporal.io", "temporal.io")),
    ("it shows no source of the package", instead("lab.source(", "print(")),
    ("is empty", empty),
    ("lines of code, more than the 25", coding(*["pass"] * 26)),
    ("shows 46 lines, more than the 45", showing("line\n" * 46)),
    # outputs
    ("ends with an error: ValueError", with_output(ERROR)),
    ("is meant to end with ValueError, and the cell below", meant_to_fail),
    ("writes to stderr: old", showing("old", "stderr")),
    ("trouble: DeprecationWarning: ", showing("x.py:1: DeprecationWarning: old")),
    ("trouble: Traceback", showing("so\nTraceback (most recent call last):\n")),
    ("shows a picture without an alt text", with_output(of_kind("image/png", ""))),
    ("shows a picture without an alt text", with_output(of_kind("text/html", '<p><img alt=" " src="x">'))),
    ("has a picture without an alt text", saying('<img src="images/states.svg">')),
    ("the picture images/states.svg has no alt text", saying("![](images/states.svg)")),
    ("is not run by the tests", coding("# NBVAL_SKIP")),
    ("ignores its output without a reason", coding("# NBVAL_IGNORE_OUTPUT")),
    ("ignores its output without a reason", coding("# PYTEST_VALIDATE_IGNORE_OUTPUT")),
    ("ignores its output, and notebooks/sanitize.cfg does not list it", ignoring_two),
    ("the outputs of 2 cells are ignored", ignoring_two),
    ("shows a path of this machine: /tmp…", with_output(of_kind("text/html", "<td>/tmp/x</td>"))),
    ("names a path of one machine: C:\\\\U…", coding('path = "C:\\\\Users\\\\me"')),
    ("names a path of one machine: /opt…", saying("It is in `/opt/orders`.")),
    # names
    ("there is no picture images/none.svg", saying("![a picture](images/none.svg)")),
    ("there is no 99_none.ipynb", saying("[next](99_none.ipynb#Top)")),
    ("there is no heading #None in 02_signals.ipynb", saying("[next](02_signals.ipynb#None)")),
    ("there is no heading #None in this notebook", saying("[above](#None)")),
    ("there is no file order_lifecycle/magic.py", saying("`order_lifecycle/magic.py`")),
    ("there is no file docker-composer.yml", saying("`docker-composer.yml`")),
    ("there is no file notebooks/none.cfg", saying("`notebooks/none.cfg`")),
    ("there is no file migrations/none/", saying("`migrations/none/`")),
    ("there is no lab.magic", saying("`lab.magic()`")),
    ("there is no OrderWorkflow.magic", saying("`await handle.query(OrderWorkflow.magic)`")),
    ("there is no Store.refund_all", saying("`Store.refund_all()`")),
    ("there is no UpdateResult.words", saying("`UpdateResult.words`")),
    ("there is no workflow.patch_it", saying('`workflow.patch_it("…")`')),
    ("nothing is called refund_all", saying("`refund_all`")),
    ("nothing is called refund_a…", saying("`refund_a…`")),
    ("there is no command order-lifecycle fly", saying("`order-lifecycle fly abc`")),
    ("there is no make dinner", saying("`make dinner`")),
    # exercises
    ("it has 0 exercises", without_exercises),
    ("Exercise 1: the check of its solution should begin with ✓", saying_of("solution", "✗ Not yet.")),
    ("Exercise 1: the check of its mistake should begin with ✗", saying_of("mistake", "✓ Right.")),
    ("Exercise 1: there is no check of its solution", without("solution")),
    ("Exercise 1: there is no check of its mistake", without("mistake")),
    ("Exercise 1: there is no check of its unsolved form", instead('lab.check_shipped("fruit-1", total="3.30")', "1")),
    ("lab.check_shipped(…, total='9.99')", instead('"fruit-2", total="3.30"', '"fruit-2", total="9.99"')),
    ("lab.check_moved(…, total='3.30')", instead("lab.check_shipped", "lab.check_moved", "mistake")),
    ("its mistake is told the same as its unsolved form", with_a_mistake_that_is_not_told_apart),
    (
        "no function with the parameters of its unsolved form: (data)",
        instead("_fields(data)", "_fields(form)", "solution"),
    ),
    ("the solution is not folded", open_to_all("solution")),
    ("the mistake is not folded", open_to_all("mistake")),
    ("the mistake does not begin with # Mistake", instead("# Mistake", "# A mistake")),
    ("what is said of the solution is not folded", instead("<details><summary>Solution</summary>", "It is:")),
]


PATHS = [
    *("/home/somebody/orders", "file:///home/somebody", "path:/home/somebody", "it is in /etc/hosts", "'/srv/jupyter'"),
    *("/content/drive", "/Volumes/disk", "~/.local/bin", "C:\\Users\\me", "lib/site-packages/temporalio"),
    pytest.param(f"{TOP}/notebooks", id="this folder"),
    pytest.param(f"{Path.home()}/orders", id="my folder"),
]
NO_PATHS = "http://127.0.0.1:8080/home/orders, tests/home/x, and/or, <var>x</var>, either: /orders"


@cache
def saved() -> tuple[Any, list[str]]:
    """Return a notebook, and its faults before the test spoils it."""
    notebook = nbformat.read(NOTEBOOKS[1], as_version=4)
    return notebook, faults(notebook)


def led_to(spoil: Spoil) -> list[str]:
    saved_notebook, before = saved()
    notebook = copy.deepcopy(saved_notebook)
    spoil(notebook)
    return [fault for fault in faults(notebook) if fault not in before]


@pytest.mark.parametrize(("says", "spoil"), SPOILS, ids=[says for says, _ in SPOILS])
def test_each_broken_rule_is_found(says: str, spoil: Spoil) -> None:
    found = led_to(spoil)
    assert any(says in fault for fault in found), found


@pytest.mark.parametrize("path", PATHS)
def test_a_path_of_a_machine_is_found_on_every_line(path: str) -> None:
    (fault,) = led_to(showing(f"the first line\n{path}\n"))
    assert "shows a path of this machine: " in fault


def test_an_intended_and_explained_error_is_allowed() -> None:
    assert led_to(meant_to_fail_and_explained) == []


def test_text_that_only_looks_like_a_path_is_allowed() -> None:
    assert led_to(showing(NO_PATHS)) == []
