"""Three changes of the order's workflow, as somebody might make them. With the first, small orders
are not reviewed: new orders would do well with it, and those that wait for their review while it is
deployed could not go on. With the second, an order that nobody answers is approved, and with the
third it is left as it is: mistakes, which only a test of the deadline finds."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from order_lifecycle.domain import Order, OrderResult, OrderState, Policy, total
    from order_lifecycle.workflows.attempts import BUGS
    from order_lifecycle.workflows.order import OrderWorkflow

SMALL = Decimal("10.00")


@workflow.defn(name="OrderWorkflow", failure_exception_types=BUGS)
class WithoutSmallReviews(OrderWorkflow):
    @workflow.init
    def __init__(self, order: Order, policy: Policy) -> None:
        super().__init__(order, policy)

    @workflow.run
    async def run(self, order: Order, policy: Policy) -> OrderResult:
        return await super().run(order, policy)

    async def _review(self) -> None:
        if total(self._order.items) >= SMALL:
            await super()._review()


@workflow.defn(name="OrderWorkflow", failure_exception_types=BUGS)
class SilenceIsConsent(OrderWorkflow):
    @workflow.init
    def __init__(self, order: Order, policy: Policy) -> None:
        super().__init__(order, policy)

    @workflow.run
    async def run(self, order: Order, policy: Policy) -> OrderResult:
        return await super().run(order, policy)

    async def _review(self) -> None:
        began = workflow.now()
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._approved, timeout=self._policy.review_timeout
            )
        self._until += workflow.now() - began


@workflow.defn(name="OrderWorkflow", failure_exception_types=BUGS)
class WalksAway(OrderWorkflow):
    @workflow.init
    def __init__(self, order: Order, policy: Policy) -> None:
        super().__init__(order, policy)

    @workflow.run
    async def run(self, order: Order, policy: Policy) -> OrderResult:
        return await super().run(order, policy)

    async def _close(self, end: OrderState, why: str) -> None:
        """End, and leave the order as it is."""
