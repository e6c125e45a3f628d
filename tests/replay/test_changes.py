"""A replay finds each change of a workflow with which running orders could not continue, and no other change.

If a worker with such a change starts anyway, no order ends because of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker
from temporalio.workflow import NondeterminismError

from order_lifecycle.client import connect as connect_to_temporal
from order_lifecycle.db.audit import audit
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import OrderState
from order_lifecycle.settings import Settings
from order_lifecycle.workflows import order, shipping
from tests.replay.recorded import HISTORIES, load
from tests.support.shop import Shop
from tests.support.waiting import until

VALIDATE = "        await self._advance(OrderActivities.validate_order, self._order)\n"
APPROVE = "        await self._advance(OrderActivities.approve_order, self._order.id)\n"
CHARGE = "        await self._advance(OrderActivities.charge_payment, self._order)\n"
CLOSE = """        state = await attempts.retry_forever(
            OrderActivities.close_order, self._order, self._run_id, end, why, policy=self._policy
        )
"""
PREPARE = "            await self._run_step(ShippingActivities.prepare_package)\n"
STEPS_OF_SHIPPING = "prepare_package", "dispatch_carrier"
TELL = '            await self._tell_parent(f"{self._step}: {attempts.reason(error)}")\n'
SHIP = "            if await self._try_shipping(number):\n"

# What is changed in which workflow: the history that shows it, what is replaced, and by what.
BREAKING = {
    "a step is added": (order, "shipped", CHARGE, CHARGE + APPROVE),
    "a step is removed": (order, "cancelled_in_review", VALIDATE, ""),
    "two steps are swapped": (order, "shipped", APPROVE + CHARGE, CHARGE + APPROVE),
    "a timer is added": (order, "failed_for_good", SHIP, "            await asyncio.sleep(60)\n" + SHIP),
    "a child has another name": (order, "shipped", 'f"ship-{self._order.id}-', 'f"shipping-{self._order.id}-'),
    "there is no refund": (order, "cancelled_while_packing", CLOSE, "        state = end\n"),
    "the child begins with another step": (shipping, "shipped.ship-1", PREPARE, PREPARE.replace(*STEPS_OF_SHIPPING)),
    "the parent is not told": (shipping, "failed_for_good.ship-1", TELL, ""),
}
HARMLESS = {
    "nothing is changed": (order, "shipped", CHARGE, CHARGE),
    "a line in the log": (order, "shipped", CHARGE, '        workflow.logger.info("now the money")\n' + CHARGE),
    "the answer to a query": (
        order,
        "shipped",
        "return self._progress.status(self._records.address)",
        "return self._progress.status(self._order.address)",
    ),
    "more time for a review": (
        order,
        "shipped",
        "timeout = self._policy.review_timeout",
        "timeout = 2 * self._policy.review_timeout",
    ),
    # The way to add a step while orders are running: those that have passed it go on without it.
    "a step for new orders": (
        order,
        "shipped",
        CHARGE,
        CHARGE + '        if workflow.patched("twice"):\n    ' + APPROVE,
    ),
}


async def replay(workflow: type, history: str) -> None:
    replayer = Replayer(workflows=[workflow], data_converter=pydantic_data_converter)
    await replayer.replay_workflow(load(HISTORIES / f"{history}.json"))


@pytest.mark.parametrize("change", BREAKING)
async def test_a_replay_finds_a_breaking_change(changed: Callable[..., type], change: str) -> None:
    module, history, old, new = BREAKING[change]
    with pytest.raises(NondeterminismError):
        await replay(changed(module, old, new), history)


@pytest.mark.parametrize("change", HARMLESS)
async def test_a_replay_accepts_a_harmless_change(changed: Callable[..., type], change: str) -> None:
    module, history, old, new = HARMLESS[change]
    await replay(changed(module, old, new), history)


@pytest.fixture
async def shop(settings: Settings, database_url: str) -> AsyncIterator[Shop]:
    """Open a shop on a dev server, with workers that have no cache."""
    engine = connect(database_url, pool_size=20)
    client = await connect_to_temporal(settings)
    yield Shop(WorkflowEnvironment.from_client(client), Store(engine), cache=0)
    assert audit(engine) == []
    engine.dispose()


def worker(shop: Shop, workflow: type) -> Worker:
    """Start a worker for that workflow in place of the order's own."""
    return Worker(shop.client, task_queue=order.ORDER_QUEUE, workflows=[workflow], max_cached_workflows=0)


async def test_a_breaking_change_does_not_end_a_running_order(changed: Callable[..., type], shop: Shop) -> None:
    """The order waits, still charged, for a worker that can continue it."""
    module, _, old, new = BREAKING["two steps are swapped"]
    async with shop.working("order activities", "shipping"):
        async with shop.working("order workflows"):
            running = await shop.start_until("prepare_package", "crosses")
        async with worker(shop, changed(module, old, new)):
            await running.signal("cancel_order", "changed my mind")

            async def stumbled() -> set[str]:
                history = await running.fetch_history()
                return {"workflow_task_failed_event_attributes", "workflow_execution_failed_event_attributes"} & {
                    event.WhichOneof("attributes") for event in history.events
                }

            await until(stumbled)
        assert (await running.describe()).status is WorkflowExecutionStatus.RUNNING
        assert shop.payments("crosses") == [("charged", "5.00")]
        async with shop.working("order workflows"):
            assert (await running.result()).state is OrderState.CANCELLED
    assert shop.payments("crosses") == [("refunded", "5.00")]


async def test_a_bug_in_the_workflow_fails_and_refunds_the_order(changed: Callable[..., type], shop: Shop) -> None:
    """The order is refunded. Without failure_exception_types, Temporal would retry its task for ever."""
    stumbles = changed(order, SHIP, "            self._progress.errors[number]\n" + SHIP)
    async with shop.working("order activities", "shipping"), worker(shop, stumbles):
        running = await shop.start("stumbles")
        await running.signal("approve_order")
        with pytest.raises(WorkflowFailureError):
            await running.result()
    assert shop.payments("stumbles") == [("refunded", "5.00")]
    assert shop.told("order_failed", "stumbles") == [{"reason": "list index out of range"}]
