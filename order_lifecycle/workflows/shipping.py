"""One try at shipping an order: a child workflow with a task queue and workers of its own."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from order_lifecycle.activities.shipping import ShippingActivities
    from order_lifecycle.domain import ShippingRequest
    from order_lifecycle.workflows.attempts import BUGS, attempts, reason

SHIPPING_QUEUE = "shipping-tq"


@workflow.defn(failure_exception_types=BUGS)
class ShippingWorkflow:
    """One try at shipping an order. A try that fails tells its parent why, and has completed."""

    @workflow.init
    def __init__(self, request: ShippingRequest) -> None:
        self._step = "starting"

    @workflow.run
    async def run(self, request: ShippingRequest) -> bool:
        """Pack the parcel and hand it to the carrier. True if the carrier has it; if not, the
        parent was told why."""
        until = workflow.now() + request.budget_left
        try:
            self._step = "prepare_package"
            await workflow.execute_activity_method(
                ShippingActivities.prepare_package,
                request.order_id,
                **attempts(request.policy, until),
            )
            self._step = "dispatch_carrier"
            await workflow.execute_activity_method(
                ShippingActivities.dispatch_carrier,
                request.order_id,
                **attempts(request.policy, until),
            )
        except ActivityError as error:
            # A cancel from the parent is no failure of the carrier's: let it end this workflow.
            if is_cancelled_exception(error):
                raise
            await self._tell_parent(f"{self._step}: {reason(error)}")
            return False
        return True

    async def _tell_parent(self, why: str) -> None:
        parent = workflow.info().parent
        if parent is not None:
            order = workflow.get_external_workflow_handle(parent.workflow_id, run_id=parent.run_id)
            await order.signal("dispatch_failed", why)

    @workflow.query
    def status(self) -> str:
        """The step that is being tried now."""
        return self._step
