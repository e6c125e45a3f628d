"""The overview, notebooks/README.md, says the same about each notebook as the notebook itself."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.rules import NOTEBOOKS, TOP

ROW = re.compile(
    r"^\| \[(?P<title>.+)\]\((?P<file>\w+\.ipynb)\) \| .+ \| (?P<time>.+) \| (?P<needs>.+) \|$", re.MULTILINE
)
OVERVIEW = (TOP / "notebooks" / "README.md").read_text()
ROWS = {row["file"]: row for row in ROW.finditer(OVERVIEW)}


def minutes(text: str) -> list[str]:
    return re.findall(r"\d+", text)


def notebooks(text: str) -> list[list[str]]:
    """Return the numbers of the notebooks that are needed, and of those that only help."""
    return [re.findall(r"\b\d\d\b", part) for part in text.split(";")]


def test_the_overview_lists_every_notebook_in_order() -> None:
    assert list(ROWS) == [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_overview_and_each_notebook_agree_on_its_time_and_needs(path: Path) -> None:
    row = ROWS[path.name]
    first = nbformat.read(path, as_version=4).cells[0].source
    said = re.search(r"\*\*Time\*\*(?P<time>.+?)\*\*Needs\*\*(?P<needs>.+)", first)
    assert said
    assert minutes(row["time"]) == minutes(said["time"])
    assert notebooks(row["needs"]) == notebooks(said["needs"])
    assert row["title"].startswith(f"{path.name[:2]} ")


def test_the_recipe_for_a_class_turns_off_news_of_jupyterlab() -> None:
    """The recipe for a class without a network has the setting that `make setup` writes for JupyterLab."""
    (setting,) = re.findall(r"'\{\"@jupyterlab.+\}'", (TOP / "Makefile").read_text())
    assert setting in OVERVIEW
