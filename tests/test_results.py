"""What README says of speed is what was measured: benchmarks/results."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).parents[1]


def test_readme_shows_rows_of_the_results() -> None:
    (section,) = re.findall(r"^## How fast it is\n(.*?)^## ", (TOP / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    shown = [line for line in section.splitlines() if line.startswith("| ")]
    measured = (TOP / "benchmarks" / "results" / "README.md").read_text().splitlines()
    assert len(shown) > 10
    assert [line for line in shown if line not in measured] == []


def test_readme_shows_what_was_not_reached() -> None:
    readme = (TOP / "README.md").read_text()
    measured = (TOP / "benchmarks" / "results" / "README.md").read_text().splitlines()
    assert [line for line in measured if line.endswith("| NO |") and line not in readme] == []
