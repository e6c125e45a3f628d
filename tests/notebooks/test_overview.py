"""The overview of the course, notebooks/README.md, says of each notebook what the notebook says of itself."""

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
    """The numbers of those that are needed, and of those that only help."""
    return [re.findall(r"\b\d\d\b", part) for part in text.split(";")]


def test_it_has_every_notebook_in_order() -> None:
    assert list(ROWS) == [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_says_how_long_a_notebook_takes_and_what_it_needs(path: Path) -> None:
    row = ROWS[path.name]
    first = nbformat.read(path, as_version=4).cells[0].source
    said = re.search(r"\*\*Time\*\*(?P<time>.+?)\*\*Needs\*\*(?P<needs>.+)", first)
    assert said
    assert minutes(row["time"]) == minutes(said["time"])
    assert notebooks(row["needs"]) == notebooks(said["needs"])
    assert row["title"].startswith(f"{path.name[:2]} ")


def test_jupyterlab_asks_for_news_in_no_class_either() -> None:
    """What `make setup` writes for JupyterLab is in the recipe for a class without a network too."""
    (setting,) = re.findall(r"'\{\"@jupyterlab.+\}'", (TOP / "Makefile").read_text())
    assert setting in OVERVIEW
