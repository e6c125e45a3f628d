"""A worker that is frozen in the middle of a transaction: it has charged an order and not committed.

Usage: python -m tests.chaos.freezing_worker. It is the project's own order worker with one difference: at its first
charge, between the UPDATE of the order's row and the COMMIT, it stops itself, as `kill -STOP`, a paused container or a
machine that falls asleep would stop it. After SIGCONT it continues as any other worker.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from typing import Any

from sqlalchemy import event
from temporalio import activity

from order_lifecycle.activities.order import OrderActivities
from order_lifecycle.db.store import Store
from order_lifecycle.faults import Faults
from order_lifecycle.stack import process
from order_lifecycle.workers.base import serve
from order_lifecycle.workers.order_worker import ORDER


class Freezing(OrderActivities):
    def __init__(self, store: Store, faults: Faults) -> None:
        super().__init__(store, faults)
        self._frozen = False
        event.listen(store.engine, "after_cursor_execute", self._freeze)

    def _freeze(self, _: Any, __: Any, statement: str, *___: Any) -> None:
        if self._frozen or not statement.startswith("UPDATE orders"):
            return
        if activity.info().activity_type == "charge_payment":
            self._frozen = True
            os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    process.run(serve(dataclasses.replace(ORDER, activities=Freezing), Faults(), lifeline=True))
