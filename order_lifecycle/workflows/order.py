"""The workflow of an order: its story from top to bottom, then the messages that it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Concatenate, ParamSpec

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import (
    ApplicationError,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)

with workflow.unsafe.imports_passed_through():
    from order_lifecycle.activities.order import OrderActivities
    from order_lifecycle.domain import (
        BEFORE_DISPATCH,
        Address,
        EventType,
        Order,
        OrderResult,
        OrderState,
        OrderStatus,
        Policy,
        ShippingRequest,
        UpdateResult,
        clean_reason,
    )
    from order_lifecycle.workflows import attempts
    from order_lifecycle.workflows.handlers import check_address, ignore_malformed, refuse_if
    from order_lifecycle.workflows.inner_task import run_to_completion
    from order_lifecycle.workflows.progress import Progress
    from order_lifecycle.workflows.records import Records, history_is_too_large
    from order_lifecycle.workflows.shipping import SHIPPING_QUEUE, ShippingWorkflow

ORDER_QUEUE = "order-tq"

P = ParamSpec("P")


@workflow.defn(failure_exception_types=attempts.BUGS)
class OrderWorkflow:
    """Fulfil one order, or cancel and refund it, and answer its messages meanwhile."""

    # Temporal rebuilds all of this from the history, on any worker.

    @workflow.init
    def __init__(self, order: Order, policy: Policy) -> None:
        self._order = order
        self._policy = policy
        # ID of the run that owns the row in the database. A reset does not change it.
        self._run_id = workflow.info().original_execution_run_id
        # The end of the budget. A review adds the time that it takes.
        self._deadline = workflow.now() + policy.budget
        self._approved = False
        self._cancel_reason: str | None = None
        self._cancelled_by_temporal = False
        self._progress = Progress(order, self._deadline)
        self._records = Records(order, policy)

    # --- the story -------------------------------------------------------------------------------

    @workflow.run
    async def run(self, order: Order, policy: Policy) -> OrderResult:
        """Process the order until it has ended, and return how. Fail if the order failed."""
        task = asyncio.create_task(self._process())
        await run_to_completion(task, on_cancel=self._cancel_for_temporal)
        end, why = self._progress.state, self._progress.end_reason
        if end is OrderState.FAILED:
            raise ApplicationError(why or "failed", type="OrderFailed", non_retryable=True)
        if end is OrderState.CANCELLED and self._cancelled_by_temporal:
            raise asyncio.CancelledError
        assert end is not None
        return OrderResult(order_id=order.id, state=end, reason=why)

    async def _process(self) -> None:
        """Fulfil or compensate, and record the messages that need it meanwhile."""
        recording = asyncio.create_task(self._records.keep(self._progress))
        await self._fulfil_or_compensate()
        self._records.count_the_rest()
        await workflow.wait_condition(
            lambda: self._records.complete and workflow.all_handlers_finished()
        )
        recording.cancel()

    async def _fulfil_or_compensate(self) -> None:
        """Fulfil the order. If a step fails for good, or a cancel arrives, compensate."""
        fulfilment = asyncio.create_task(self._fulfil())
        await workflow.wait_condition(
            lambda: fulfilment.done() or self._cancel_reason is not None or self._is_flooded()
        )
        if not fulfilment.done() and self._is_flooded():
            self._request_cancel("too many messages, or too large ones, were sent to it")
        fulfilment.cancel()
        try:
            await fulfilment
        # CancelledError is not an Exception: `except Exception` alone would keep the charge.
        except (Exception, asyncio.CancelledError) as error:
            if self._cancel_reason is not None:
                await self._compensate(OrderState.CANCELLED, self._cancel_reason)
                return
            await self._compensate(OrderState.FAILED, attempts.reason(error))
        if self._cancel_reason is not None:  # a cancel arrived while the order ended
            self._records.add_late(f"cancelled: {self._cancel_reason}")

    async def _fulfil(self) -> None:
        """Receive, validate, review, approve, charge and ship."""
        await self._advance(OrderActivities.receive_order, self._order, self._run_id)
        await self._advance(OrderActivities.validate_order, self._order)
        await self._review()
        await self._advance(OrderActivities.approve_order, self._order.id)
        await self._advance(OrderActivities.charge_payment, self._order)
        # The parcel goes to the address that was asked for last.
        await workflow.wait_condition(lambda: self._records.no_change_waits)
        await self._ship()
        await self._advance(OrderActivities.ship_order, self._order.id)

    async def _review(self) -> None:
        """Wait hours or days for a person, also while workers and servers restart."""
        self._stop_if_cancelled()
        began = workflow.now()
        timeout = self._policy.review_timeout
        self._progress.set_step("review", "approve_order", deadline=began + timeout)
        try:
            await workflow.wait_condition(
                lambda: self._approved, timeout=timeout, timeout_summary="review deadline"
            )
        except TimeoutError:
            self._request_cancel("review expired")
            raise
        self._deadline += workflow.now() - began

    async def _ship(self) -> None:
        """Try to ship, a bounded number of times. Each try is a child workflow of its own."""
        for number in range(1, self._policy.shipping_tries + 1):
            self._progress.shipping_tries = number
            if await self._try_shipping(number):
                self._progress.set_state(OrderState.DISPATCHED)
                return
            self._stop_if_cancelled()
            await self._records.note(EventType.DISPATCH_FAILED, self._progress.errors[-1])
        why = f"shipping failed {number} times, last: {self._progress.errors[-1]}"
        raise ApplicationError(why, type="ShippingFailed")

    async def _try_shipping(self, number: int) -> bool:
        """Start one child workflow, and return True if the carrier has the parcel."""
        self._stop_if_cancelled()
        child_id = f"ship-{self._order.id}-{number}"
        self._progress.set_step("shipping", f"child workflow {child_id}", deadline=self._deadline)
        left = self._deadline - workflow.now()
        share = left / (self._policy.shipping_tries - number + 1)
        request = ShippingRequest(
            order_id=self._order.id, attempt=number, policy=self._policy, budget_left=share
        )
        try:
            return await workflow.execute_child_workflow(
                ShippingWorkflow.run,
                request,
                id=child_id,
                task_queue=SHIPPING_QUEUE,
                # For a child that no worker takes. A child that runs gives up by itself.
                execution_timeout=max(left, timedelta(seconds=1)),
                # Do not wait until the child has stopped: its worker may be down. The database
                # knows what the child has done.
                cancellation_type=workflow.ChildWorkflowCancellationType.TRY_CANCEL,
                static_summary=f"ship order {self._order.id}, try {number}",
            )
        except (ChildWorkflowError, WorkflowAlreadyStartedError) as error:
            # If somebody else has cancelled the child, only this try has failed.
            if is_cancelled_exception(error) and self._cancel_reason is not None:
                raise
            self._progress.add_error(attempts.reason(error))
            return False

    async def _compensate(self, end: OrderState, why: str) -> None:
        """End the order as cancelled or failed, and refund its charge. Retry until it succeeds."""
        self._progress.end_reason = why
        self._progress.set_step("close_order", f"the order to end as {end}", deadline=None)
        state = await attempts.retry_forever(
            OrderActivities.close_order, self._order, self._run_id, end, why, policy=self._policy
        )
        # The database decides: the order may have ended already, and in another way.
        if state in (OrderState.DISPATCHED, OrderState.SHIPPED):
            await self._finish_shipping(end, why)
            return
        if state is not end:
            self._progress.end_reason = f"the database has it as {state}"
        self._progress.set_state(state)

    async def _finish_shipping(self, end: OrderState, why: str) -> None:
        """Ship after all, because the carrier had the parcel before the order could end."""
        self._progress.end_reason = None
        if end is OrderState.CANCELLED:
            self._cancel_reason = None
        self._progress.set_state(OrderState.DISPATCHED)
        self._progress.set_step("ship_order", "ship_order", deadline=None)
        self._records.add_late(f"{end}: {why}")
        await workflow.wait_condition(lambda: self._records.complete)
        state = await attempts.retry_forever(
            OrderActivities.ship_order, self._order.id, policy=self._policy
        )
        self._progress.set_state(state)

    async def _advance(
        self,
        activity: Callable[Concatenate[OrderActivities, P], OrderState],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Run the activity of the next step, and adopt the state that it returns."""
        self._stop_if_cancelled()
        name = activity.__name__
        self._progress.set_step(name, name, deadline=self._deadline)
        state = await attempts.execute(
            activity, *args, policy=self._policy, deadline=self._deadline
        )
        self._progress.set_state(state)

    def _stop_if_cancelled(self) -> None:
        """Raise CancelledError if a cancel was requested."""
        # Task.cancel() is not enough: it is lost on an `await` that ends at the same moment.
        if self._cancel_reason is not None:
            raise asyncio.CancelledError

    # --- signals: they get no answer, and do no work, because thousands may come at once ---------

    @workflow.signal
    @ignore_malformed
    def approve_order(self) -> None:
        """Approve the order."""
        if self._too_late_to_approve():
            self._records.add_late("approve_order")
        else:
            self._approved = True

    @workflow.signal
    @ignore_malformed
    def cancel_order(self, why: str = "cancelled by signal") -> None:
        """Cancel the order, and refund it if it is charged."""
        if self._too_late_to("cancel"):
            self._records.add_late("cancel_order")
        else:
            self._request_cancel(why)

    @workflow.signal
    @ignore_malformed
    def update_address(self, address: Address) -> None:
        """Send the parcel to another address."""
        check_address(address)
        if self._too_late_to("change the address"):
            self._records.add_late("update_address")
        else:
            self._records.add_change(address, by_signal=True)

    @workflow.signal
    @ignore_malformed
    def dispatch_failed(self, why: str) -> None:
        """Remember why a try at shipping failed. The child workflow sends this."""
        self._progress.add_error(why)

    @workflow.signal(dynamic=True)
    def no_such_signal(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Drop an unknown signal. The SDK would keep it until the order ends."""

    # --- Updates: they are answered, or refused with the reason ----------------------------------

    @workflow.update
    async def approve(self) -> UpdateResult:
        """Approve the order."""
        self._approved = True
        return self._result("approved")

    @approve.validator
    def _may_approve(self) -> None:
        refuse_if(self._too_late_to_approve())
        refuse_if("already approved" if self._approved else None)

    @workflow.update
    async def cancel(self, why: str = "cancelled by update") -> UpdateResult:
        """Cancel the order, and answer when it has ended and is refunded."""
        self._request_cancel(why)
        await workflow.wait_condition(
            lambda: self._cancel_reason is None or self._progress.has_ended
        )
        if self._progress.state is not OrderState.CANCELLED:
            refuse_if(self._too_late_to("cancel"))
        return self._result(f"cancelled: {self._progress.end_reason}")

    @cancel.validator
    def _may_cancel(self, why: str = "cancelled by update") -> None:
        clean_reason(why)  # raises TypeError if it is no text
        refuse_if(self._too_late_to("cancel"))
        refuse_if("already being cancelled" if self._cancel_reason is not None else None)

    @workflow.update
    async def change_address(self, address: Address) -> UpdateResult:
        """Send the parcel to another address, and answer when the database has it."""
        change = self._records.add_change(address, by_signal=False)
        await workflow.wait_condition(lambda: change.done)
        refuse_if(change.refusal)
        return self._result(f"goes to {address.address}, {address.city}")

    @change_address.validator
    def _may_change_address(self, address: Address) -> None:
        check_address(address)
        refuse_if(self._too_late_to("change the address"))

    # --- the query -------------------------------------------------------------------------------

    @workflow.query
    def status(self) -> OrderStatus:
        """Return what the order has reached, and what it waits for."""
        return self._progress.status(self._records.address)

    # --- what the messages share -----------------------------------------------------------------

    def _request_cancel(self, why: str) -> None:
        if self._cancel_reason is None and not self._progress.has_ended:
            self._cancel_reason = clean_reason(why) or "no reason given"

    def _cancel_for_temporal(self) -> None:
        self._cancelled_by_temporal = True
        self._request_cancel("the workflow was cancelled")

    def _is_flooded(self) -> bool:
        """Return True if the order must end, because its history grows too large."""
        # After the dispatch it ends soon by itself.
        return self._too_late_to("cancel") is None and history_is_too_large()

    def _too_late_to(self, what: str) -> str | None:
        """Return why it is too late, or None."""
        if self._progress.state is None or self._progress.state in BEFORE_DISPATCH:
            return None
        return f"too late to {what}: order {self._order.id} is {self._progress.state}"

    def _too_late_to_approve(self) -> str | None:
        """Return why it is too late, or None. No approval stops an end that has begun."""
        ending = self._cancel_reason or self._progress.end_reason
        return self._too_late_to("approve") or (
            f"too late to approve: order {self._order.id} is ending ({ending})" if ending else None
        )

    def _result(self, message: str) -> UpdateResult:
        state = self._progress.state or OrderState.RECEIVED
        return UpdateResult(order_id=self._order.id, state=state, message=message)
