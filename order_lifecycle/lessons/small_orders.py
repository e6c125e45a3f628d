"""Three workflows, each the order's own with one planted mistake.

The first breaks orders that wait for their review when it is deployed. Only a test of the review's
deadline finds the other two.
"""

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
    """Skip the review of a small order."""

    @workflow.init
    def __init__(self, order: Order, policy: Policy) -> None:
        super().__init__(order, policy)

    @workflow.run
    async def run(self, order: Order, policy: Policy) -> OrderResult:
        """Process the order as `OrderWorkflow` does."""
        return await super().run(order, policy)

    async def _review(self) -> None:
        if total(self._order.items) >= SMALL:
            await super()._review()


@workflow.defn(name="OrderWorkflow", failure_exception_types=BUGS)
class SilenceIsConsent(OrderWorkflow):
    """Approve an order when its review deadline has passed."""

    @workflow.init
    def __init__(self, order: Order, policy: Policy) -> None:
        super().__init__(order, policy)

    @workflow.run
    async def run(self, order: Order, policy: Policy) -> OrderResult:
        """Process the order as `OrderWorkflow` does."""
        return await super().run(order, policy)

    async def _review(self) -> None:
        began = workflow.now()
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._approved, timeout=self._policy.review_timeout
            )
        self._deadline += workflow.now() - began


@workflow.defn(name="OrderWorkflow", failure_exception_types=BUGS)
class WalksAway(OrderWorkflow):
    """End without closing the order."""

    @workflow.init
    def __init__(self, order: Order, policy: Policy) -> None:
        super().__init__(order, policy)

    @workflow.run
    async def run(self, order: Order, policy: Policy) -> OrderResult:
        """Process the order as `OrderWorkflow` does."""
        return await super().run(order, policy)

    async def _compensate(self, end: OrderState, why: str) -> None:
        """Leave the order as it is."""
