"""An order that ended long ago, and that Temporal has deleted, is no violation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.worker import Worker

from order_lifecycle.activities.order import OrderActivities
from order_lifecycle.client import connect as connect_to_temporal
from order_lifecycle.client import register_search_attributes, start_order
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import EventType, OrderState, Policy
from order_lifecycle.reconciliation import compare_with_temporal
from order_lifecycle.settings import Settings
from order_lifecycle.workers.base import activity_methods
from order_lifecycle.workflows.order import ORDER_QUEUE, OrderWorkflow
from tests.support.orders import an_order


async def test_an_order_that_ended_days_ago_may_be_gone_from_temporal(settings: Settings, superuser_url: str) -> None:
    assert settings.database_url
    store = Store(connect(settings.database_url.get_secret_value()))
    for order_id in ("long-ago", "just-now", "still-runs"):
        order = an_order(order_id)
        store.receive(order, "no-run")
        if order_id == "still-runs":
            store.advance(order_id, EventType.ORDER_VALIDATED)
        else:
            store.close(order, "no-run", OrderState.CANCELLED, "never mind")
    superuser = connect(superuser_url)
    with superuser.begin() as tx:
        tx.exec_driver_sql("SET LOCAL session_replication_role = replica")  # no triggers
        tx.exec_driver_sql("UPDATE orders SET updated_at = now() - interval '3 days' WHERE id <> 'just-now'")
    found = await compare_with_temporal(await connect_to_temporal(settings), store.order_states)
    said = {violation.order_id: violation.detail for violation in found if violation.order_id in store.order_states()}
    assert said == {
        "just-now": "the row is cancelled, and Temporal knows no such order",
        "still-runs": "the row is validated, and Temporal knows no such order",
    }
    store.engine.dispose()
    superuser.dispose()


async def test_a_second_workflow_with_the_same_order_id_is_no_violation(settings: Settings) -> None:
    """The row belongs to another run, so the new workflow is refused and the row stays correct.

    It is a violation only if nobody works on that order any more.
    """
    assert settings.database_url
    store = Store(connect(settings.database_url.get_secret_value()))
    for order_id in ("taken", "taken-midway"):
        store.receive(an_order(order_id), "no-run")
    store.close(an_order("taken"), "no-run", OrderState.CANCELLED, "never mind")
    client = await connect_to_temporal(settings)
    await register_search_attributes(client)
    with ThreadPoolExecutor(5) as threads:
        activities = activity_methods(OrderActivities(store))
        async with Worker(
            client,
            task_queue=ORDER_QUEUE,
            workflows=[OrderWorkflow],
            activities=activities,
            activity_executor=threads,
        ):
            for order_id in ("taken", "taken-midway"):
                handle = await start_order(client, an_order(order_id), Policy())
                with pytest.raises(WorkflowFailureError):
                    await handle.result()
    found = await compare_with_temporal(client, store.order_states)
    said = {violation.order_id: violation.detail for violation in found if violation.order_id in store.order_states()}
    assert said == {"taken-midway": "the row is received, and its workflow is gone"}
    store.engine.dispose()
