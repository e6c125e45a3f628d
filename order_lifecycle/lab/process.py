"""A process of a notebook: while a cell waits for it, the cell shows for what."""

from __future__ import annotations

from collections.abc import Callable

from order_lifecycle.lab.waiting import LabError, progress
from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.waiting import WaitError


class LabProcess(ChildProcess):
    """A real process that this notebook started."""

    def wait_until(
        self,
        condition: Callable[[], object],
        what: str,
        timeout: float,
        tell: Callable[[], object] = lambda: None,
    ) -> None:
        """Wait as a ChildProcess does, and show for what. Raises LabError."""
        with progress(what) as show:
            try:
                super().wait_until(condition, what, timeout, show)
            except WaitError as error:
                raise LabError(str(error)) from None
