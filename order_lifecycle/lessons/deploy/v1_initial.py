"""The small order as it runs today."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from order_lifecycle.lessons import deploy


@workflow.defn
class SmallOrder:
    """The life of a small order."""

    def __init__(self) -> None:
        self._approved = False

    @workflow.run
    async def run(self, order_id: str) -> str:
        """Receive the order, wait for its review, charge it and ship it."""
        limit = timedelta(seconds=5)
        await workflow.execute_activity(deploy.receive, order_id, start_to_close_timeout=limit)
        # A person must review the order within three days.
        await workflow.wait_condition(lambda: self._approved, timeout=timedelta(days=3))
        await workflow.execute_activity(deploy.charge, order_id, start_to_close_timeout=limit)
        await workflow.execute_activity(deploy.ship, order_id, start_to_close_timeout=limit)
        return "shipped"

    @workflow.signal
    def approve_order(self) -> None:
        """Approve the order."""
        self._approved = True


if __name__ == "__main__":
    from order_lifecycle.lessons import worker

    worker.main(deploy.QUEUE, [SmallOrder], deploy.ACTIVITIES)
