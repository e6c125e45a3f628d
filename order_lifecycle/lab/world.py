"""The processes of a notebook: a stack of its own, and workers that can be stopped and killed.

Each runs in a session of its own, so that an Interrupt of a cell does not reach it, and each reads its standard input,
which is a pipe that only this process holds open: however this process ends, the pipe ends, and so do they.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import weakref
from typing import Literal

from pydantic import ConfigDict

from order_lifecycle.lab.waiting import LabError, wait_here, wake_for_signals
from order_lifecycle.settings import Addresses, Settings


class Process:
    """A real process that this one started."""

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str] | None = None) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115, it lives as long as the process
        self._popen = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            env={**os.environ, **(environment or {}), "PYTHONUNBUFFERED": "1"},
        )
        # Popen outlives its last reference for as long as the process runs, and would keep the lifeline with it.
        assert self._popen.stdin is not None
        weakref.finalize(self, self._popen.stdin.close)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self.status is None

    @property
    def status(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._popen.poll()

    def tail(self, lines: int = 10) -> str:
        """The last lines that it wrote."""
        # pread, because the position in the file is shared with the process that writes to it.
        text = os.pread(self._log.fileno(), 1_000_000, 0).decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def stop(self, at_most: float = 15.0) -> None:
        """Ask it to end (SIGTERM), and wait until it has. Raises LabError if it has not after `at_most` seconds."""
        self._popen.terminate()
        self._wait_for_end(at_most)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash or a power cut would: it cannot clean up."""
        self._popen.kill()
        self._wait_for_end(5.0)

    def _wait_for_end(self, at_most: float) -> None:
        wait_here(lambda: not self.alive, f"the {self.name} to end", at_most)
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()

    def last_words(self) -> str | None:
        """How it ended and what it last said, or None while it runs."""
        return None if self.alive else f"it ended with exit status {self.status}, and last said:\n{self.tail()}"

    def first_line(self, at_most: float) -> str:
        """The first line of its standard output."""
        assert self._popen.stdout is not None
        os.set_blocking(self._popen.stdout.fileno(), False)
        got = b""

        def line_is_there() -> bool:
            nonlocal got
            assert self._popen.stdout is not None
            got += self._popen.stdout.read() or b""
            return got.endswith(b"\n")

        wait_here(line_is_there, f"the {self.name} to be ready", at_most, self.last_words)
        return got.decode()

    def __repr__(self) -> str:
        return f"<{self.name}: {'running' if self.alive else 'ended'}>"


class World(Addresses):
    """Where this notebook's servers are."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    process: Process
    given: bool  # the servers are somebody else's, named in the settings

    @property
    def alive(self) -> bool:
        return self.given or self.process.alive

    def __repr__(self) -> str:
        return f"<world: Temporal at {self.temporal_host}>"


_world: World | None = None


def up() -> World:
    """Start a Temporal server and a PostgreSQL for this notebook alone, both empty, and wait until they are ready.

    With TEMPORAL_HOST and DATABASE_URL set, those servers are used, and nothing in them is cleared. A second call
    answers with the world that there is. The addresses go to the environment of this process too, so that
    `!order-lifecycle …` in a cell finds them. Raises LabError.
    """
    global _world
    wake_for_signals()
    if _world is not None and _world.alive:
        return _world
    if _world is not None:  # it has ended, and its addresses with it
        for name in ("TEMPORAL_HOST", "DATABASE_URL", "TEMPORAL_UI_URL"):
            os.environ.pop(name, None)
    given = Settings()
    process = Process("stack", ["order_lifecycle", "up", "--ephemeral", "--json", "--lifeline"])
    addresses = Addresses.model_validate_json(process.first_line(at_most=60))
    _world = World(**addresses.model_dump(), process=process, given=bool(given.temporal_host and given.database_url))
    os.environ["TEMPORAL_HOST"] = _world.temporal_host
    os.environ["DATABASE_URL"] = _world.database_url
    if _world.ui_url:
        os.environ["TEMPORAL_UI_URL"] = _world.ui_url
    return _world


def here() -> World:
    """The world of this notebook. Raises LabError if there is none."""
    if _world is None:
        raise LabError("there are no servers yet: run the cell with lab.up() first")
    if not _world.alive:
        raise LabError("this notebook's servers have ended: choose Restart Kernel and Run All Cells")
    return _world


def start_worker(
    kind: Literal["order", "shipping"],
    *,
    fail: float = 0,
    hang: float = 0,
    seed: int = 0,
    always_fail: str | None = None,
) -> Process:
    """Start a worker in a process of its own, and wait until it polls its task queue.

    `fail` and `hang`: the share of calls to the outside world that do (see `order_lifecycle.faults`); `always_fail`: a
    step that never works. The worker ends when nothing refers to it any more, so give it a name. Raises LabError.
    """
    here()
    faults = [f"--faults-fail={fail}", f"--faults-hang={hang}", f"--faults-seed={seed}"]
    if always_fail is not None:
        faults.append(f"--always-fail={always_fail}")
    worker = Process(f"{kind} worker", [f"order_lifecycle.workers.{kind}_worker", "--lifeline", *faults])
    wait_here(lambda: "polling" in worker.tail(1000), f"the {kind} worker to poll its queue", 30, worker.last_words)
    return worker


async def doctor() -> str:
    """What is here and what is missing, and what to do about it: as `order-lifecycle doctor` says it."""
    from order_lifecycle.doctor import examine  # takes its time

    return "\n".join(f"{'ok     ' if found.ok else 'MISSING'}  {found.what}: {found.says}" for found in await examine())
