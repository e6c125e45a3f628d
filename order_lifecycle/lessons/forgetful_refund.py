"""Three workflows that charge an order, wait, and refund it in different ways.

Two of them show what not to do. Their activities are those of the package, on its order worker.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from order_lifecycle.activities.order import OrderActivities
    from order_lifecycle.domain import Order, OrderState
    from order_lifecycle.workflows.inner_task import run_to_completion
    from order_lifecycle.workflows.order import ORDER_QUEUE
    from order_lifecycle.workflows.progress import ORDER_STATE

QUEUE = "lesson-forgetful-refund"


class Story:
    """What the three workflows have in common."""

    def __init__(self) -> None:
        self._waits = False
        self._cancelled = False

    @workflow.signal
    def cancel_order(self) -> None:
        """Cancel the order."""
        self._cancelled = True

    @workflow.query
    def waits_for_carrier(self) -> bool:
        """Return True if the order is charged, and waits."""
        return self._waits

    async def _fulfil(self, order: Order) -> None:
        """Charge the order, and wait for a carrier that never comes."""
        await self._step(OrderActivities.receive_order, order, workflow.info().run_id)
        await self._step(OrderActivities.validate_order, order)
        await self._step(OrderActivities.approve_order, order.id)
        await self._step(OrderActivities.charge_payment, order)
        self._waits = True
        await workflow.wait_condition(lambda: self._cancelled)
        raise ApplicationError("cancelled by signal")

    async def _refund(self, order: Order) -> None:
        ending = (workflow.info().run_id, OrderState.CANCELLED, "it takes too long")
        await self._step(OrderActivities.close_order, order, *ending)
        workflow.upsert_search_attributes([ORDER_STATE.value_set(OrderState.CANCELLED)])

    async def _step(self, step: Any, *arguments: Any) -> None:
        await workflow.execute_activity_method(
            step,
            args=arguments,
            task_queue=ORDER_QUEUE,
            start_to_close_timeout=timedelta(seconds=1),
        )


@workflow.defn
class ForgetfulOrder(Story):
    """Refund after every Exception. A cancel by Temporal is not an Exception."""

    @workflow.run
    async def run(self, order: Order) -> None:
        """Fulfil the order, or refund it."""
        try:
            await self._fulfil(order)
        except Exception:
            await self._refund(order)
            raise


@workflow.defn
class HastyOrder(Story):
    """Refund after every error, also after a cancel. But a second cancel stops the refund."""

    @workflow.run
    async def run(self, order: Order) -> None:
        """Fulfil the order, or refund it."""
        try:
            await self._fulfil(order)
        except BaseException:
            await self._refund(order)
            raise


@workflow.defn
class CarefulOrder(Story):
    """Refund in an inner task, which no cancel reaches. Temporal's cancel becomes a request."""

    @workflow.run
    async def run(self, order: Order) -> None:
        """Start the inner task, and wait for its end."""
        task = asyncio.create_task(self._fulfil_or_refund(order))
        await run_to_completion(task, on_cancel=self.cancel_order)

    async def _fulfil_or_refund(self, order: Order) -> None:
        try:
            await self._fulfil(order)
        except BaseException:
            await self._refund(order)
            raise


if __name__ == "__main__":
    from order_lifecycle.lessons import worker

    worker.main(QUEUE, [ForgetfulOrder, HastyOrder, CarefulOrder])
