"""Three orders that are charged and then wait, and differ in how they give the money back: what not
to do, twice, and what to do.

Only the workflows are of this lesson. Their steps are those of the package, done by its own order
worker.
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
    from order_lifecycle.workflows.order import ORDER_QUEUE, ORDER_STATE

QUEUE = "lesson-forgetful-refund"


class Story:
    """What the three have in common."""

    def __init__(self) -> None:
        self._waits = False
        self._cancelled = False

    @workflow.signal
    def cancel_order(self) -> None:
        self._cancelled = True

    @workflow.query
    def waits_for_carrier(self) -> bool:
        return self._waits

    async def _fulfil(self, order: Order) -> None:
        """Charge the order, and wait for a carrier who never comes."""
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
    @workflow.run
    async def run(self, order: Order) -> None:
        """Refund after every Exception. A cancel by Temporal is none."""
        try:
            await self._fulfil(order)
        except Exception:
            await self._refund(order)
            raise


@workflow.defn
class HastyOrder(Story):
    @workflow.run
    async def run(self, order: Order) -> None:
        """Refund after everything that can be raised. But this, too, can be cancelled."""
        try:
            await self._fulfil(order)
        except BaseException:
            await self._refund(order)
            raise


@workflow.defn
class CarefulOrder(Story):
    @workflow.run
    async def run(self, order: Order) -> None:
        """Let a task of its own live the order's life, and only wait for its end. Temporal's cancel
        arrives in this wait, and nowhere else."""
        life = asyncio.create_task(self._live(order))
        while not life.done():
            try:
                await workflow.wait_condition(life.done)
            except asyncio.CancelledError:
                self._cancelled = True
        await life

    async def _live(self, order: Order) -> None:
        try:
            await self._fulfil(order)
        except BaseException:
            await self._refund(order)
            raise


if __name__ == "__main__":
    from order_lifecycle.lessons import worker

    worker.main(QUEUE, [ForgetfulOrder, HastyOrder, CarefulOrder])
