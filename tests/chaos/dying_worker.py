"""A worker that dies after the database's commit and before its report to Temporal, where a double charge may happen.

Usage: python -m tests.chaos.dying_worker {order,shipping} STEP. It is the project's own worker with one difference: as
soon as STEP has done its work, the process kills itself.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
import sys
from typing import Any

from order_lifecycle.faults import Faults
from order_lifecycle.stack import process
from order_lifecycle.workers.base import WorkerSpec, serve
from order_lifecycle.workers.order_worker import ORDER
from order_lifecycle.workers.shipping_worker import SHIPPING


def dies_after(kind: WorkerSpec, step: str) -> WorkerSpec:
    """Return that kind of worker, which kills itself when `step` returns."""
    method = getattr(kind.activities, step)

    @functools.wraps(method)  # with what @activity.defn has written on it
    def does_it_and_dies(self: Any, *args: Any) -> Any:
        method(self, *args)  # it returns after its transaction has been committed
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()  # in case that this thread is the last to notice

    activities = type("Dying", (kind.activities,), {step: does_it_and_dies})  # type: ignore[arg-type]
    return dataclasses.replace(kind, activities=activities)


if __name__ == "__main__":
    kind = {"order": ORDER, "shipping": SHIPPING}[sys.argv[1]]
    process.run(serve(dies_after(kind, sys.argv[2]), Faults(), lifeline=True))
