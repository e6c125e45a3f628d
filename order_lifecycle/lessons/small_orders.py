"""A change of the order's workflow, as somebody might make it: small orders are not reviewed. New orders would do well
with it. Those that wait for their review while it is deployed could not go on."""

from __future__ import annotations

from decimal import Decimal

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from order_lifecycle.domain import Order, OrderResult, Policy, total
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
