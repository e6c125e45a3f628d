"""Count the processor time of each test, with all that it starts: `make test PYTEST_ARGS="--processor-time FILE"`.

FILE gets one line a test, the dearest first: seconds of processor time, seconds by the clock, and the test's name. The
terminal shows the sum of each folder. A process that outlives its parent is counted until its parent ends, no longer.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Generator, Mapping
from pathlib import Path

import psutil
import pytest


def spent() -> float:
    """Return the seconds of processor time of this process and of all that it has started, the ended ones too."""
    total = 0.0
    this = psutil.Process()
    for process in [this, *this.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def dearest_first(seconds: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(seconds.items(), key=lambda entry: -entry[1])


class ProcessorTime:
    """Measure in the process that runs the tests, and write in the one that collects their reports."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = 0.0
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.clock: defaultdict[str, float] = defaultdict(float)

    def pytest_sessionstart(self) -> None:
        self.before = spent()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add to each report what its phase (setup, call or teardown) has spent."""
        report = yield
        now = spent()
        report.__dict__["processor_time"] = now - self.before  # pytest-xdist sends each attribute of a report along
        self.before = now
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += getattr(report, "processor_time", 0.0)
        self.clock[report.nodeid] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if hasattr(terminalreporter.config, "workerinput"):  # a process of pytest-xdist, which has its own tests only
            return
        with self.path.open("w") as file:
            for test, seconds in dearest_first(self.seconds):
                print(f"{seconds:8.2f} {self.clock[test]:8.2f} {test}", file=file)
        folders: defaultdict[str, float] = defaultdict(float)
        for test, seconds in self.seconds.items():
            folders[str(Path(test.partition("::")[0]).parent)] += seconds
        terminalreporter.section("seconds of processor time")
        for folder, seconds in dearest_first(folders):
            terminalreporter.write_line(f"{seconds:8.1f} {folder}")
        terminalreporter.write_line(f"{sum(self.seconds.values()):8.1f} all of them; test by test in {self.path}")
