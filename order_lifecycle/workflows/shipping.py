"""One try at shipping an order: a child workflow with a task queue and workers of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from order_lifecycle.activities.shipping import ShippingActivities
    from order_lifecycle.domain import ShippingRequest
    from order_lifecycle.workflows import attempts

SHIPPING_QUEUE = "shipping-tq"


@workflow.defn(failure_exception_types=attempts.BUGS)
class ShippingWorkflow:
    """Try once to ship an order. A try that fails tells its parent why, and completes."""

    @workflow.init
    def __init__(self, request: ShippingRequest) -> None:
        self._request = request
        self._deadline = workflow.now() + request.budget_left
        self._step = "starting"

    @workflow.run
    async def run(self, request: ShippingRequest) -> bool:
        """Pack the parcel and hand it to the carrier. Return True if the carrier has it."""
        try:
            await self._run_step(ShippingActivities.prepare_package)
            await self._run_step(ShippingActivities.dispatch_carrier)
        except ActivityError as error:
            # If the parent cancels this workflow, the try has not failed: end as cancelled.
            if is_cancelled_exception(error):
                raise
            await self._tell_parent(f"{self._step}: {attempts.reason(error)}")
            return False
        return True

    async def _run_step(self, activity: Callable[[ShippingActivities, str], Any]) -> None:
        self._step = activity.__name__
        await attempts.execute(
            activity, self._request.order_id, policy=self._request.policy, deadline=self._deadline
        )

    async def _tell_parent(self, why: str) -> None:
        parent = workflow.info().parent
        if parent is not None:
            order = workflow.get_external_workflow_handle(parent.workflow_id, run_id=parent.run_id)
            await order.signal("dispatch_failed", why)

    @workflow.query
    def status(self) -> str:
        """Return the name of the current step."""
        return self._step
