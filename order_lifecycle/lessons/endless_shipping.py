"""An order that ships for ever and never looks at its signals: what not to do."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ChildWorkflowError

QUEUE = "lesson-endless-shipping"


@workflow.defn
class EndlessOrder:
    """Start a child workflow, again and again. A signal is noted, and nothing looks at the note."""

    def __init__(self) -> None:
        self._tries = 0
        self._cancelled = False

    @workflow.run
    async def run(self, order_id: str) -> bool:
        """Try to ship until a child succeeds. None does."""
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
        """Note that the order is cancelled."""
        self._cancelled = True

    @workflow.query
    def status(self) -> dict[str, int | bool]:
        """Return the number of tries, and whether a cancel was noted."""
        return {"tries": self._tries, "cancelled": self._cancelled}


@workflow.defn
class HopelessShipping:
    """A try at shipping that always fails."""

    @workflow.run
    async def run(self, order_id: str) -> bool:
        """Ask the carrier, which takes a moment and says no."""
        await workflow.sleep(timedelta(milliseconds=100))
        raise ApplicationError(f"no carrier takes {order_id}")


if __name__ == "__main__":
    from order_lifecycle.lessons import worker

    worker.main(QUEUE, [EndlessOrder, HopelessShipping])
