"""Which tests are measured for the coverage figure.

`make test` and `make proof` have `coverage` measure each Python process that the tests start (COVERAGE_PROCESS_START).
That makes every start of Python and every line slower. So it pauses during tests that repeat what others show: in a
browser, in drawn examples, in exercises, or while processes are killed. In test_make.py it would measure pip.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

START = "COVERAGE_PROCESS_START"
TOP = Path(__file__).parents[2]
LIVES = "tests/stack/test_many_lives.py", "tests/stack/test_many_lives_in_a_container.py"
# Each adds fewer than ten lines or branches to those of the other tests, and takes 17 s or more of processor time.
WORKERS = [f"tests/workers/test_{name}.py" for name in ("burst", "stopped", "worker_life")]
WORKFLOWS = [f"tests/workflows/test_{name}.py" for name in ("flood", "races", "signals")]
REPEAT = (*WORKERS, *WORKFLOWS, "tests/browser", "tests/chaos", "tests/notebooks", "tests/test_make.py", *LIVES)
NOT_MEASURED = [TOP / name for name in REPEAT]


class Measured:
    """Pause the measuring, in this process and in those that it starts."""

    def __init__(self) -> None:
        self.start = os.environ[START]
        self.here = coverage.Coverage.current()
        self.measures = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.measure(not is_not_measured(item))
        return (yield)

    def measure(self, on: bool) -> None:
        if on == self.measures:
            return
        self.measures = on
        if on:
            os.environ[START] = self.start
        else:
            del os.environ[START]
        if self.here is None:
            return
        if on:
            self.here.start()
        else:
            self.here.stop()


def is_not_measured(item: pytest.Item) -> bool:
    return bool(item.get_closest_marker("search")) or any(item.path.is_relative_to(folder) for folder in NOT_MEASURED)
