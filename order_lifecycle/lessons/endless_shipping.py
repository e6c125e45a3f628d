"""An order that ships for ever and hears nothing: what not to do.

Its child workflow fails, it starts the next one, and nothing in its loop ever ends it. It does get
its signals: their handler runs, and writes down what nobody reads.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ChildWorkflowError

QUEUE = "lesson-endless-shipping"


@workflow.defn
class EndlessOrder:
    def __init__(self) -> None:
        self._tries = 0
        self._cancelled = False

    @workflow.run
    async def run(self, order_id: str) -> bool:
        while True:
            self._tries += 1
            try:
                return await workflow.execute_child_workflow(
                    HopelessShipping.run, order_id, id=f"ship-{order_id}-{self._tries}"
                )
            except ChildWorkflowError:
                continue

    @workflow.signal
    def cancel_order(self) -> None:
        self._cancelled = True

    @workflow.query
    def status(self) -> dict[str, int | bool]:
        return {"tries": self._tries, "cancelled": self._cancelled}


@workflow.defn
class HopelessShipping:
    @workflow.run
    async def run(self, order_id: str) -> bool:
        """Ask the carrier, who takes a moment and says no."""
        await workflow.sleep(timedelta(milliseconds=100))
        raise ApplicationError(f"no carrier takes {order_id}")


if __name__ == "__main__":
    from order_lifecycle.lessons import worker

    worker.main(QUEUE, [EndlessOrder, HopelessShipping])
