"""How long the notebooks take, and all of `make test`."""

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
EASY, OTHER = 10.0, 20.0  # s; 00 to 03, and the others, as a learner's "Run All" would do


async def each_notebook(report: Report) -> None:
    took = {path.stem[:2]: await asyncio.to_thread(run_all, path) for path in sorted(TOP.glob("notebooks/*.ipynb"))}
    for wanted, of_these in ((EASY, [n for n in took if n <= "03"]), (OTHER, [n for n in took if n > "03"])):
        each = ", ".join(f"{number}: {took[number]:.0f} s" for number in of_these)
        slowest = max(took[number] for number in of_these)
        name = f"notebooks {of_these[0]} to {of_these[-1]}, each alone, with the start of its kernel"
        report.add(name, each, must=f"{wanted:g} s", holds=slowest <= wanted)


def run_all(path: Path) -> float:
    """How many seconds it takes to run all cells, the kernel's start included."""
    notebook = nbformat.read(path, as_version=4)
    began = time.monotonic()
    NotebookClient(
        notebook, kernel_name="python3", timeout=120, resources={"metadata": {"path": path.parent}}
    ).execute()
    return time.monotonic() - began


async def notebooks_and_tests(report: Report) -> None:
    for what, command, wanted in (
        ("all notebooks, three at a time", [sys.executable, "-m", "pytest", "-q", "notebooks"], NOTEBOOKS),
        # README and these results agree when both are written down, which is afterwards.
        ("the whole of `make test`", ["make", "test", "PYTEST_ARGS=--deselect tests/test_results.py"], EVERYTHING),
    ):
        began = time.monotonic()
        done = await asyncio.to_thread(subprocess.run, command, cwd=TOP, capture_output=True, text=True)
        took = time.monotonic() - began
        passed = re.search(r"\d+ passed", done.stdout)
        if done.returncode:
            raise RuntimeError(done.stdout[-3000:] + done.stderr)
        report.add(what, f"{took:.0f} s, {passed and passed.group()}", must=f"{wanted:g} s", holds=took <= wanted)
