"""The story of an order, from top to bottom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Concatenate, ParamSpec, TypeVar

from temporalio import workflow
from temporalio.common import RawValue, SearchAttributeKey
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
        TERMINAL,
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
        total,
    )
    from order_lifecycle.workflows.attempts import BUGS, reason, retry_forever, run_step
    from order_lifecycle.workflows.handlers import ignore_malformed
    from order_lifecycle.workflows.records import Records, history_is_too_large
    from order_lifecycle.workflows.shipping import SHIPPING_QUEUE, ShippingWorkflow

ORDER_QUEUE = "order-tq"
ORDER_STATE = SearchAttributeKey.for_keyword("OrderState")
ORDER_TOTAL = SearchAttributeKey.for_float("OrderTotal")

P = ParamSpec("P")
T = TypeVar("T")


@workflow.defn(failure_exception_types=BUGS)
class OrderWorkflow:
    """The life of one order: its steps, and what others may say to it and ask it meanwhile."""

    # --- what it remembers -----------------------------------------------------------------------
    # All of it is rebuilt from the history, on whichever worker goes on with it.

    @workflow.init
    def __init__(self, order: Order, policy: Policy) -> None:
        self._order = order
        self._policy = policy
        # Whose the order is in the database. After a reset it is still this, and run_id another.
        self._run_id = workflow.info().original_execution_run_id
        self._state: OrderState | None = None
        self._step_name = "starting"
        self._waiting_for = "an order worker"
        self._approved = False
        self._cancel_reason: str | None = None
        self._end_reason: str | None = None
        # When the order's work must be done. Time spent on its review is added.
        self._until = workflow.now() + policy.budget
        self._deadline: datetime | None = self._until
        self._shipping_tries = 0
        self._errors: list[str] = []
        self._records = Records(order, policy)

    # --- the story -------------------------------------------------------------------------------

    @workflow.run
    async def run(self, order: Order, policy: Policy) -> OrderResult:
        """Live until the order has ended, and say how it did. Fails if the order failed."""
        life = asyncio.create_task(self._live())
        life.add_done_callback(lambda _: self._records.count_the_rest())
        records = asyncio.create_task(self._records.keep(lambda: self._state is not None))

        def over() -> bool:
            return life.done() and (
                life.exception() is not None
                or (self._records.complete and workflow.all_handlers_finished())
            )

        # Temporal's own cancellation arrives here and nowhere else, as an exception in this wait.
        # It becomes a request like the others, so that it cannot interrupt a refund.
        cancelled_by_temporal = False
        while not over():
            try:
                await workflow.wait_condition(over)
            except asyncio.CancelledError:
                cancelled_by_temporal = True
                self._request_cancel("the workflow was cancelled")
        records.cancel()
        await life
        if self._state is OrderState.FAILED:
            raise ApplicationError(
                self._end_reason or "failed", type="OrderFailed", non_retryable=True
            )
        if self._state is OrderState.CANCELLED and cancelled_by_temporal:
            raise asyncio.CancelledError
        assert self._state is not None
        return OrderResult(order_id=order.id, state=self._state, reason=self._end_reason)

    async def _live(self) -> None:
        """Fulfil the order, until it is done, a cancel arrives, a step fails for good, or too much
        was sent to it."""
        story = asyncio.create_task(self._fulfil())
        await workflow.wait_condition(
            lambda: story.done() or self._cancel_reason is not None or self._must_stop()
        )
        if not story.done() and self._must_stop():
            self._request_cancel("too many messages, or too large ones, were sent to it")
        story.cancel()
        try:
            await story
        # CancelledError is a BaseException: `except Exception` alone would let a cancelled order
        # keep its charge.
        except (Exception, asyncio.CancelledError) as error:
            if self._cancel_reason is not None:
                await self._close(OrderState.CANCELLED, self._cancel_reason)
                return
            await self._close(OrderState.FAILED, reason(error))
        if self._cancel_reason is not None:  # it came at the very moment of the end
            self._records.add_late(f"cancelled: {self._cancel_reason}")

    async def _fulfil(self) -> None:
        """Received, validated, reviewed, approved, charged, packed, dispatched, shipped."""
        self._moved_to(await self._step(OrderActivities.receive_order, self._order, self._run_id))
        self._moved_to(await self._step(OrderActivities.validate_order, self._order))
        await self._review()
        self._moved_to(await self._step(OrderActivities.approve_order, self._order.id))
        self._moved_to(await self._step(OrderActivities.charge_payment, self._order))
        # Changes of address that were asked for until now come first.
        await workflow.wait_condition(lambda: self._records.no_change_waits)
        await self._ship()
        self._moved_to(OrderState.DISPATCHED)
        self._moved_to(await self._step(OrderActivities.ship_order, self._order.id))

    async def _review(self) -> None:
        """Wait for a person: hours or days, through restarts of the workers and of the server."""
        self._stop_if_cancelled()
        began = workflow.now()
        self._now_at("review", "approve_order", until=began + self._policy.review_timeout)
        try:
            await workflow.wait_condition(
                lambda: self._approved,
                timeout=self._policy.review_timeout,
                timeout_summary="review deadline",
            )
        except TimeoutError:
            self._request_cancel("review expired")
            raise
        self._until += workflow.now() - began

    async def _ship(self) -> None:
        """Try to ship, a bounded number of times, each try a child workflow of its own."""
        for number in range(1, self._policy.shipping_tries + 1):
            self._shipping_tries = number
            if await self._shipped_by_try(number):
                return
            self._stop_if_cancelled()
            await self._records.note(EventType.DISPATCH_FAILED, self._errors[-1])
        raise ApplicationError(
            f"shipping failed {number} times, last: {self._errors[-1]}", type="ShippingFailed"
        )

    async def _shipped_by_try(self, number: int) -> bool:
        self._stop_if_cancelled()
        child_id = f"ship-{self._order.id}-{number}"
        self._now_at("shipping", f"child workflow {child_id}", until=self._until)
        tries_left = self._policy.shipping_tries - number + 1
        request = ShippingRequest(
            order_id=self._order.id,
            attempt=number,
            policy=self._policy,
            budget_left=(self._until - workflow.now()) / tries_left,
        )
        try:
            return await workflow.execute_child_workflow(
                ShippingWorkflow.run,
                request,
                id=child_id,
                task_queue=SHIPPING_QUEUE,
                # For when no worker takes it. One that works on it gives up by itself.
                execution_timeout=max(self._until - workflow.now(), timedelta(seconds=1)),
                # Ask the child to stop and go on at once: its worker may be down. What it did until
                # then, the database knows.
                cancellation_type=workflow.ChildWorkflowCancellationType.TRY_CANCEL,
                static_summary=f"ship order {self._order.id}, try {number}",
            )
        except (ChildWorkflowError, WorkflowAlreadyStartedError) as error:
            # A child that somebody else has cancelled is a try that failed.
            if is_cancelled_exception(error) and self._cancel_reason is not None:
                raise
            self._remember_error(reason(error))
            return False

    async def _close(self, end: OrderState, why: str) -> None:
        """The other endings: cancelled or failed, with what was charged refunded. This is tried
        until it succeeds."""
        self._end_reason = why
        self._now_at("close_order", f"the order to end as {end}", until=None)
        state = await retry_forever(
            OrderActivities.close_order,
            *(self._order, self._run_id, end, why),
            policy=self._policy,
        )
        # The database is the judge. The order may have ended already, and in another way.
        if state not in (OrderState.DISPATCHED, OrderState.SHIPPED):
            if state is not end:
                self._end_reason = f"the database has it as {state}"
            self._moved_to(state)
            return
        # The carrier was quicker, and the order goes on to its good end.
        self._end_reason = None
        if end is OrderState.CANCELLED:
            self._cancel_reason = None
        self._moved_to(OrderState.DISPATCHED)
        self._now_at("ship_order", "ship_order", until=None)
        self._records.add_late(f"{end}: {why}")
        await workflow.wait_condition(lambda: self._records.complete)
        self._moved_to(
            await retry_forever(OrderActivities.ship_order, self._order.id, policy=self._policy)
        )

    # --- what the outside may say: signals, which carry no answer --------------------------------

    # They only remember what was said: thousands may come in the same moment.

    @workflow.signal
    @ignore_malformed
    def approve_order(self) -> None:
        if self._too_late_to_approve():
            self._records.add_late("approve_order")
        else:
            self._approved = True

    @workflow.signal
    @ignore_malformed
    def cancel_order(self, why: str = "cancelled by signal") -> None:
        if self._too_late_to("cancel"):
            self._records.add_late("cancel_order")
        else:
            self._request_cancel(why)

    @workflow.signal
    @ignore_malformed
    def update_address(self, address: Address) -> None:
        self._must_be_an_address(address)
        if self._too_late_to("change the address"):
            self._records.add_late("update_address")
        else:
            self._records.add_change(address, by_signal=True)

    @workflow.signal
    @ignore_malformed
    def dispatch_failed(self, why: str) -> None:
        """From the child to its parent."""
        self._remember_error(why)

    @workflow.signal(dynamic=True)
    def no_such_signal(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Drop a signal that nobody knows. The SDK would keep it for as long as the order lives,
        and would not look whether it is one too many."""

    # --- and Updates, which are answered: accepted, or refused with the reason -------------------

    @workflow.update
    async def approve(self) -> UpdateResult:
        self._approved = True
        return self._result("approved")

    @approve.validator
    def _may_approve(self) -> None:
        self._refuse_if(self._too_late_to_approve())
        self._refuse_if("already approved" if self._approved else None)

    @workflow.update
    async def cancel(self, why: str = "cancelled by update") -> UpdateResult:
        self._request_cancel(why)
        await workflow.wait_condition(lambda: self._cancel_reason is None or self._ended())
        if self._state is not OrderState.CANCELLED:
            self._refuse_if(self._too_late_to("cancel"))
        return self._result(f"cancelled: {self._end_reason}")

    @cancel.validator
    def _may_cancel(self, why: str = "cancelled by update") -> None:
        clean_reason(why)  # refuses what is no text
        self._refuse_if(self._too_late_to("cancel"))
        self._refuse_if("already being cancelled" if self._cancel_reason is not None else None)

    @workflow.update
    async def change_address(self, address: Address) -> UpdateResult:
        change = self._records.add_change(address, by_signal=False)
        await workflow.wait_condition(lambda: change.done)
        self._refuse_if(change.refusal)
        return self._result(f"goes to {address.address}, {address.city}")

    @change_address.validator
    def _may_change_address(self, address: Address) -> None:
        self._must_be_an_address(address)
        self._refuse_if(self._too_late_to("change the address"))

    # --- and what it may ask ---------------------------------------------------------------------

    @workflow.query
    def status(self) -> OrderStatus:
        return OrderStatus(
            order_id=self._order.id,
            state=self._state,
            step=self._step_name,
            waiting_for=None if self._ended() else self._waiting_for,
            address=self._records.address,
            total=total(self._order.items),
            deadline=None if self._ended() else self._deadline,
            shipping_tries=self._shipping_tries,
            errors=tuple(self._errors),
            reason=self._end_reason,
        )

    # --- the small print -------------------------------------------------------------------------

    async def _step(
        self,
        activity: Callable[Concatenate[OrderActivities, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """The next step of the story."""
        self._stop_if_cancelled()
        self._now_at(activity.__name__, activity.__name__, until=self._until)
        return await run_step(activity, *args, policy=self._policy, until=self._until)

    def _stop_if_cancelled(self) -> None:
        """Task.cancel() is a request, and is lost on an await that ends at the same moment: the
        story would go on."""
        if self._cancel_reason is not None:
            raise asyncio.CancelledError

    def _now_at(self, step: str, waiting_for: str, until: datetime | None) -> None:
        self._step_name, self._waiting_for, self._deadline = step, waiting_for, until
        self._tell_the_web_ui()

    def _moved_to(self, state: OrderState) -> None:
        before, self._state = self._state, state
        workflow.logger.info(
            "order moved", extra={"before": before and before.value, "after": state.value}
        )
        workflow.upsert_search_attributes(
            [ORDER_STATE.value_set(state), ORDER_TOTAL.value_set(float(total(self._order.items)))]
        )
        self._tell_the_web_ui()

    def _tell_the_web_ui(self) -> None:
        if self._ended():
            workflow.set_current_details(
                f"{self._state}: {self._end_reason}" if self._end_reason else f"{self._state}"
            )
        else:
            workflow.set_current_details(
                f"{self._state or 'new'}: {self._step_name}, waits for {self._waiting_for}"
            )

    def _must_be_an_address(self, address: Address) -> None:
        # Temporal's converters for bytes, null and protobuf do not look at the type that a handler
        # asks for.
        if not isinstance(address, Address):
            raise TypeError(f"an address is expected, not {type(address).__name__}")

    def _remember_error(self, why: str) -> None:
        self._errors = [*self._errors[-9:], clean_reason(why)]

    def _must_stop(self) -> bool:
        """Return True if the order is to be closed, because its history grows too large. Once the
        carrier has the parcel, it ends soon by itself."""
        return self._too_late_to("cancel") is None and history_is_too_large()

    def _request_cancel(self, why: str) -> None:
        if self._cancel_reason is None and not self._ended():
            self._cancel_reason = clean_reason(why) or "no reason given"

    def _too_late_to(self, what: str) -> str | None:
        if self._state is None or self._state in BEFORE_DISPATCH:
            return None
        return f"too late to {what}: order {self._order.id} is {self._state}"

    def _too_late_to_approve(self) -> str | None:
        """Approving stops no end that is already being made; a cancel or a change of address may
        ask the database."""
        ending = self._cancel_reason or self._end_reason
        return self._too_late_to("approve") or (
            f"too late to approve: order {self._order.id} is ending ({ending})" if ending else None
        )

    def _refuse_if(self, why: str | None) -> None:
        if why is not None:
            raise ApplicationError(why, type="RefusedError", non_retryable=True)

    def _ended(self) -> bool:
        return self._state in TERMINAL

    def _result(self, message: str) -> UpdateResult:
        return UpdateResult(
            order_id=self._order.id, state=self._state or OrderState.RECEIVED, message=message
        )
