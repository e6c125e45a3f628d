"""Measure how long the notebooks take, and all of `make test`."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from benchmarks.report import Report

TOP = Path(__file__).parents[1]
NOTEBOOKS, EVERYTHING = 120.0, 300.0  # s, on two processors
EASY, OTHER = 10.0, 20.0  # s, for "Run All" in one of 00 to 03, and in one of the others


async def measure_notebooks(report: Report) -> None:
    """Report how long "Run All" takes in each notebook."""
    took = {path.stem[:2]: await asyncio.to_thread(run_all, path) for path in sorted(TOP.glob("notebooks/*.ipynb"))}
    for wanted, of_these in ((EASY, [n for n in took if n <= "03"]), (OTHER, [n for n in took if n > "03"])):
        each = ", ".join(f"{number}: {took[number]:.0f} s" for number in of_these)
        slowest = max(took[number] for number in of_these)
        name = f"notebooks {of_these[0]} to {of_these[-1]}, each alone, kernel start included"
        report.add(name, each, goal=f"{wanted:g} s", reached=slowest <= wanted)


def run_all(path: Path) -> float:
    """Run all cells of a notebook, and return the seconds that this takes with the start of the kernel."""
    notebook = nbformat.read(path, as_version=4)
    began = time.monotonic()
    NotebookClient(
        notebook, kernel_name="python3", timeout=120, resources={"metadata": {"path": path.parent}}
    ).execute()
    return time.monotonic() - began


async def measure_suites(report: Report) -> None:
    """Report how long all notebooks take in pytest, and how long `make test` takes."""
    for what, command, wanted in (
        ("all notebooks, three at a time", [sys.executable, "-m", "pytest", "-q", "notebooks"], NOTEBOOKS),
        # test_results.py compares README with these results, which are not written yet.
        ("all of `make test`", ["make", "test", "PYTEST_ARGS=--deselect tests/test_results.py"], EVERYTHING),
    ):
        began = time.monotonic()
        done = await asyncio.to_thread(subprocess.run, command, cwd=TOP, capture_output=True, text=True)
        took = time.monotonic() - began
        passed = re.search(r"\d+ passed", done.stdout)
        if done.returncode:
            raise RuntimeError(done.stdout[-3000:] + done.stderr)
        report.add(what, f"{took:.0f} s, {passed and passed.group()}", goal=f"{wanted:g} s", reached=took <= wanted)
