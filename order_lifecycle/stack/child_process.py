"""A process that this one starts, waits for, stops and kills."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Callable
from typing import IO, ClassVar

from order_lifecycle import isolated
from order_lifecycle.stack.process import hold
from order_lifecycle.waiting import wait_here


class ChildProcess:
    """A process of our own code, which ends when this one does or when nothing refers to it.

    It runs in a session of its own, so that a Ctrl-C or an Interrupt of a cell does not reach it.
    It reads its standard input, a pipe that only this process holds open: however this process
    ends, the pipe ends, and so does the child.
    """

    _newest: ClassVar[dict[str, weakref.ref[ChildProcess]]] = {}  # by name

    def __init__(
        self, name: str, arguments: list[str], environment: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self.environment = environment or {}  # what it was given beside ours
        self._newest[name] = weakref.ref(self)
        # Files, because a pipe that nobody reads is full one day, and whoever writes to it then
        # waits for ever. They live as long as the process.
        self._out = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._popen = subprocess.Popen(
            isolated.command(*arguments, options=("-X", "utf8", "-u")),
            stdin=subprocess.PIPE,
            stdout=self._out,
            stderr=self._log,
            start_new_session=True,
            env={**os.environ, **self.environment},
        )
        # Popen outlives its last reference for as long as the process runs, and would keep the
        # lifeline with it.
        assert self._popen.stdin is not None
        hold(self._popen.stdin)
        weakref.finalize(self, self._popen.stdin.close)

    @property
    def pid(self) -> int:
        """The process ID."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """True until it has ended."""
        return self.status is None

    @property
    def status(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._popen.poll()

    @property
    def newest(self) -> bool:
        """True if no other of this name was started after it."""
        return self._newest[self.name]() is self

    def log(self) -> str:
        """Return all that it wrote to standard error."""
        return _text(self._log)

    def tail(self, lines: int = 10) -> str:
        """Return the last lines that it wrote to standard error."""
        return "\n".join(self.log().splitlines()[-lines:])

    def last_words(self) -> str | None:
        """Return how it ended and what it last said, or None while it runs."""
        return (
            None
            if self.alive
            else f"it ended with exit status {self.status}, and last said:\n{self.tail()}"
        )

    def wait_until(
        self,
        condition: Callable[[], object],
        what: str,
        timeout: float,
        tell: Callable[[], object] = lambda: None,
    ) -> None:
        """Wait until `condition` is true, as `waiting.wait_here` does.

        Raises:
            WaitError: The process has ended, or `timeout` seconds have passed. The error has what
                the process last said.
        """
        wait_here(condition, what, timeout, self.last_words, self._hint, tell)

    def _hint(self) -> str:
        return f". It last said:\n{self.tail()}"

    def first_line(self, timeout: float) -> str:
        """Return the first line of its standard output. Raise as `wait_until` does."""
        ready = f"the {self.name} to be ready"
        self.wait_until(lambda: _text(self._out).endswith("\n"), ready, timeout)
        return _text(self._out).partition("\n")[0]

    def stop(self, timeout: float = 15.0) -> None:
        """Ask it to end (SIGTERM), and wait until it has. Raise as `wait_until` does."""
        self._popen.terminate()
        self._popen.send_signal(signal.SIGCONT)  # a process that was stopped hears nothing
        self._wait_for_end(timeout)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash or a power cut would: it cannot clean up."""
        self._popen.kill()
        self._wait_for_end(5.0)

    def _wait_for_end(self, timeout: float) -> None:
        self.wait_until(lambda: not self.alive, f"the {self.name} to end", timeout)
        assert self._popen.stdin is not None
        self._popen.stdin.close()

    def __repr__(self) -> str:
        return f"<{self.name}: {'running' if self.alive else 'ended'}>"


def _text(file: IO[str]) -> str:
    """Return all that was written to the file."""
    # pread, because the position in the file is shared with the process that writes to it.
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")
