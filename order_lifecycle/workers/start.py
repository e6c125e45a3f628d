"""Start a worker as a child process: with which command, and how to see that it is ready."""

from __future__ import annotations

from order_lifecycle.faults import Faults
from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.workers.base import READY


def worker_command(kind: str, faults: Faults | None = None) -> list[str]:
    """Return the module and the arguments of a worker, for a ChildProcess.

    `faults`: what the outside world does to its calls; without them, every call works, unless the
    settings say otherwise.
    """
    command = [f"order_lifecycle.workers.{kind}_worker", "--lifeline"]
    if faults is not None:
        command += [
            f"--faults-fail={faults.fail}",
            f"--faults-hang={faults.hang}",
            f"--faults-seed={faults.seed}",
            f"--always-fail={','.join(sorted(faults.always_fail))}",
        ]
    return command


def wait_until_ready(worker: ChildProcess, timeout: float = 30) -> None:
    """Wait until the worker polls its task queue. Raise as `ChildProcess.wait_until` does."""
    ready = f"the {worker.name} to poll its queue"
    worker.wait_until(lambda: READY in worker.log(), ready, timeout)
