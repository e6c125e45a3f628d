"""README and benchmarks/README.md report the speed that was measured: benchmarks/results."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).parents[1]
MEASURED = (TOP / "benchmarks" / "results" / "README.md").read_text().splitlines()
NOT_REACHED = [line for line in MEASURED if line.endswith("| NO |")]


def test_readme_says_how_many_goals_were_not_reached() -> None:
    readme = (TOP / "README.md").read_text()
    (said,) = re.findall(r"Of the goals for speed, (\d+) were not reached", readme)
    assert int(said) == len(NOT_REACHED)


def test_each_goal_that_was_not_reached_is_explained() -> None:
    """The section has the figures of its row: what was measured, and its ratio."""
    page = (TOP / "benchmarks" / "README.md").read_text()
    (section,) = re.findall(r"^## Goals not reached\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    for line in NOT_REACHED:
        what, measured, _against, ratio = (cell.strip() for cell in line.split("|")[1:5])
        assert (ratio or measured.split(",")[0]) in section, what
