"""A worker as a user runs it: a process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.support.waiting import wait_until


class WorkerProcess:
    def __init__(self, kind: str, folder: Path, environment: dict[str, str], *options: str) -> None:
        self._said = folder / f"{kind}-worker-{time.monotonic_ns()}.log"
        with self._said.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"order_lifecycle.workers.{kind}_worker", *options],
                stdin=subprocess.PIPE,
                stderr=log,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )

    def said(self) -> str:
        return self._said.read_text()

    def until_said(self, words: str) -> None:
        wait_until(lambda: words in self.said() or self.process.poll() is not None, what=words)
        assert words in self.said()

    def end(self) -> int:
        """Ask the worker to end, unless it has, and return its exit status."""
        self.process.terminate()
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(15)
