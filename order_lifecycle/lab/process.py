"""Start a process from a notebook, and show progress while a cell waits for it."""

from __future__ import annotations

from collections.abc import Callable

from order_lifecycle.lab.waiting import LabError, progress
from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.waiting import WaitError


class LabProcess(ChildProcess):
    """A process that this notebook has started, such as a worker."""

    def wait_until(
        self,
        condition: Callable[[], object],
        what: str,
        timeout: float,
        on_poll: Callable[[], object] = lambda: None,
    ) -> None:
        """Wait as a ChildProcess does, and show progress.

        Raises:
            LabError: If the process has ended, or if the condition is not true after `timeout`.
        """
        with progress(what) as show:
            try:
                super().wait_until(condition, what, timeout, show)
            except WaitError as error:
                raise LabError(str(error)) from None
