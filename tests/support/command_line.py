"""Run a command as a process, as users do (takes a second), or in this process (quick)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from order_lifecycle.settings import Addresses
from order_lifecycle.workers.base import READY
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Answer:
    status: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)

    def says(self, words: str) -> bool:
        """Check that the command succeeded, and return True if it said these words."""
        assert self.status == 0, self.err
        return words in self.out

    def refuses(self, words: str, status: int = 1) -> bool:
        """Check that it refused in one line on standard error, and return True if that has these words."""
        assert (self.status, self.out, self.err.count("\n")) == (status, "", 1), self
        return words in self.err


def command(*arguments: str, **options: Any) -> Answer:
    """Run a command in its own process. `options`: as for subprocess.run."""
    done = subprocess.run(
        [sys.executable, "-m", "order_lifecycle", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def variables(stack: Addresses) -> dict[str, str]:
    """Return the variables by which commands find that stack."""
    return {
        "TEMPORAL_HOST": stack.temporal_host,
        "TEMPORAL_UI_URL": stack.ui_url or "",
        "DATABASE_URL": stack.database_url,
    }


@contextmanager
def workers(environment: dict[str, str], folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run `order-lifecycle worker all`, and yield it and its log once both workers poll. Press Ctrl-C at the end."""
    said = folder / "workers.log"
    with said.open("wb") as log:
        both = subprocess.Popen(
            [sys.executable, "-m", "order_lifecycle", "worker", "all"],
            stderr=log,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    try:

        def log_while_they_run() -> str:
            log = said.read_text()
            assert both.poll() is None, log
            return log

        wait_until(
            log_while_they_run,
            lambda log: f"{READY} order-tq" in log and f"{READY} shipping-tq" in log,
            what="both workers to poll",
            timeout=90,
        )
        yield both, said
    finally:
        both.send_signal(signal.SIGINT)
        assert both.wait(20) == 0, said.read_text()
