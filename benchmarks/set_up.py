"""Measure how long a new clone takes to ship its first order: the installation, the servers, the order."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.orders import start_bare, start_real, time_one_order
from benchmarks.quantiles import quantile
from benchmarks.report import Report
from benchmarks.servers import start_servers
from order_lifecycle.client import connect

TOP = Path(__file__).parents[1]
WANTED = {"stack, cold": 4.0, "stack, warm": 2.0, "`make lab` again, until it prints its address": 3.0}  # s
TIMES = 5


async def measure_set_up(report: Report) -> None:
    """Report how long each part of the set-up takes, cold and warm, with pip and with uv."""
    await asyncio.to_thread(_clone_to_stack, report)
    with start_servers() as servers, servers.workers(), servers.bare_workers():
        client = await connect(servers.settings)
        baseline = await time_one_order(start_bare, client, "first")
        first = await time_one_order(start_real, client, "first")
    report.add(
        "first order of new workers", f"{first:.2f} s", f"bare: {baseline:.2f} s", first / baseline, "1 s", first <= 1
    )


def _clone_to_stack(report: Report) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clone, with_uv = Path(folder, "clone"), Path(folder, "with-uv")
        for each in (clone, with_uv):
            subprocess.run(["git", "clone", "--quiet", str(TOP), str(each)], check=True)
        pip = _seconds(["make", "setup"], clone, without="uv")
        report.add("install, with pip, from its cache", f"{pip:.0f} s")
        uv = shutil.which("uv") or _install_uv(Path(folder))
        seconds = _seconds(["make", "setup"], with_uv, first=str(Path(uv).parent))
        report.add("install, with uv, from its cache", f"{seconds:.0f} s", f"pip: {pip:.0f} s", seconds / pip)
        report.add("install again, with nothing to do", f"{_seconds(['make', 'setup'], clone):.2f} s")
        python = clone / ".venv" / "bin" / "python"
        _seconds_to_line([str(python), "-m", "order_lifecycle", "up", "--ephemeral", "--json"], clone)  # .pyc files
        took: dict[str, list[float]] = {what: [] for what in WANTED}
        for number in range(TIMES):
            up = [str(python), "-m", "order_lifecycle", "up", "--json", "--home", f"{folder}/home-{number}"]
            for what in ("stack, cold", "stack, warm"):
                took[what].append(_seconds_to_line(up, clone))
            lab = ["make", "lab", "LAB_ARGS=--no-browser --port=0"]
            took["`make lab` again, until it prints its address"].append(_seconds_to_line(lab, clone, "http://"))
    for what, wanted in WANTED.items():
        middle = quantile(took[what], 0.5)
        report.add(f"{what}: p50 of {TIMES}", f"{middle:.1f} s", goal=f"{wanted:g} s", reached=middle <= wanted)


def _environment(without: str = "", first: str = "") -> dict[str, str]:
    path = [first] if first else []
    path += [each for each in os.environ["PATH"].split(os.pathsep) if not without or not Path(each, without).exists()]
    return {**os.environ, "PATH": os.pathsep.join(path), "PYTHON": sys.executable}


def _seconds(command: list[str], folder: Path, without: str = "", first: str = "") -> float:
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=_environment(without, first), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return time.monotonic() - began


def _seconds_to_line(command: list[str], folder: Path, word: str = "{") -> float:
    """Return the seconds until the command prints a line with that word. Then stop the command."""
    began = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        said = ""
        for line in process.stdout:
            said += line
            if word in line:
                took = time.monotonic() - began
                break
        else:
            raise RuntimeError(f"{' '.join(command)}: {said}")
        os.killpg(process.pid, signal.SIGTERM)  # the whole group, because make does not pass the signal on
        process.stdout.read()
    return took


def _install_uv(folder: Path) -> str:
    subprocess.run([sys.executable, "-m", "venv", str(folder / "uv")], check=True)
    subprocess.run([str(folder / "uv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "uv"], check=True)
    return str(folder / "uv" / "bin" / "uv")
