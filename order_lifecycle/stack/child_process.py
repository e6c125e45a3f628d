"""Start a child process, wait for it, stop it and kill it."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Callable
from typing import IO, ClassVar

from order_lifecycle import isolated
from order_lifecycle.stack.process import keep_lifeline
from order_lifecycle.waiting import block_until


class ChildProcess:
    """A process of our own code, which ends when this one does or when nothing refers to it.

    It runs in a session of its own, so that Ctrl-C, or the Interrupt of a cell, does not reach it.
    Its standard input is a pipe that only this process holds open. However this process ends, the
    pipe ends, and then the child ends as well.
    """

    _newest: ClassVar[dict[str, weakref.ref[ChildProcess]]] = {}  # by name

    def __init__(
        self, name: str, arguments: list[str], environment: dict[str, str] | None = None
    ) -> None:
        """Start the process.

        Args:
            name: What messages call it.
            arguments: The module to run, and its arguments.
            environment: Variables beside those of this process.
        """
        self.name = name
        self.environment = environment or {}
        self._newest[name] = weakref.ref(self)
        # Files, not pipes: nobody reads them regularly, and a process that writes to a full pipe
        # waits forever.
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
        # Python keeps a Popen object while its process runs, even without a reference. So the pipe
        # has to be closed by this object's end.
        assert self._popen.stdin is not None
        keep_lifeline(self._popen.stdin)
        weakref.finalize(self, self._popen.stdin.close)

    @property
    def pid(self) -> int:
        """The process ID."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """True if the process runs."""
        return self.status is None

    @property
    def status(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._popen.poll()

    @property
    def newest(self) -> bool:
        """True if no process of the same name was started after this one."""
        return self._newest[self.name]() is self

    def log(self) -> str:
        """Return everything that it wrote to standard error."""
        return _text(self._log)

    def tail(self, lines: int = 10) -> str:
        """Return the last lines that it wrote to standard error."""
        return "\n".join(self.log().splitlines()[-lines:])

    def describe_exit(self) -> str | None:
        """Return how it ended and the end of its log, or None while it runs."""
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
        on_poll: Callable[[], object] = lambda: None,
    ) -> None:
        """Wait until `condition` is true, as `waiting.block_until` does.

        Raises:
            WaitError: If the process has ended, or if the condition is not true after `timeout`
                seconds. The message has the end of the log.
        """
        block_until(condition, what, timeout, self.describe_exit, self._hint, on_poll)

    def _hint(self) -> str:
        return f". It last said:\n{self.tail()}"

    def first_line(self, timeout: float) -> str:
        """Return the first line of its standard output. Raise as `wait_until` does."""
        ready = f"the {self.name} to be ready"
        self.wait_until(lambda: _text(self._out).endswith("\n"), ready, timeout)
        return _text(self._out).partition("\n")[0]

    def stop(self, timeout: float = 15.0) -> None:
        """Ask it to end by SIGTERM, and wait until it has. Raise as `wait_until` does."""
        self._popen.terminate()
        self._popen.send_signal(signal.SIGCONT)  # a process stopped by SIGSTOP must see SIGTERM
        self._wait_for_end(timeout)

    def kill(self) -> None:
        """Kill it by SIGKILL. As in a crash or a power cut, it cannot clean up."""
        self._popen.kill()
        self._wait_for_end(5.0)

    def _wait_for_end(self, timeout: float) -> None:
        self.wait_until(lambda: not self.alive, f"the {self.name} to end", timeout)
        assert self._popen.stdin is not None
        self._popen.stdin.close()

    def __repr__(self) -> str:
        return f"<{self.name}: {'running' if self.alive else 'ended'}>"


def _text(file: IO[str]) -> str:
    """Return everything that was written to the file."""
    # pread, because the process that writes to the file shares its position.
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")
