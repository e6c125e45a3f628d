"""How long the notebooks take, and all of `make test`."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.report import Report

TOP = Path(__file__).parents[1]
NOTEBOOKS, EVERYTHING = 120.0, 300.0  # s, on two processors


async def notebooks_and_tests(report: Report) -> None:
    for what, command, wanted in (
        ("all notebooks, three at a time", [sys.executable, "-m", "pytest", "-q", "notebooks"], NOTEBOOKS),
        ("the whole of `make test`", ["make", "test"], EVERYTHING),
    ):
        began = time.monotonic()
        done = await asyncio.to_thread(subprocess.run, command, cwd=TOP, capture_output=True, text=True)
        took = time.monotonic() - began
        passed = re.search(r"\d+ passed", done.stdout)
        if done.returncode:
            raise RuntimeError(done.stdout[-3000:] + done.stderr)
        report.add(what, f"{took:.0f} s, {passed and passed.group()}", must=f"{wanted:g} s", holds=took <= wanted)
