"""Many orders at once, with one process of each worker.

For every workflow, the workflow sandbox imports each module again that is not passed through. If a workflow's module
imported SQLAlchemy, a burst of 20 orders would not finish.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from order_lifecycle.client import connect, start_order
from order_lifecycle.db.audit import audit, count_by_state
from order_lifecycle.db.store import connect as connect_to_database
from order_lifecycle.domain import OrderState, Policy
from order_lifecycle.settings import Settings
from order_lifecycle.workers.base import READY
from order_lifecycle.workflows.order import OrderWorkflow
from tests.support.orders import an_order
from tests.support.worker_process import WorkerProcess


@pytest.mark.parametrize("many", [50, pytest.param(200, marks=pytest.mark.proof)])
@pytest.mark.timeout(300)
async def test_a_burst_of_orders_is_shipped(
    many: int,
    start_worker: Callable[..., WorkerProcess],
    settings: Settings,
    record_property: Callable[[str, object], None],
) -> None:
    for kind in ("order", "shipping"):
        start_worker(kind).until_said(READY)
    client = await connect(settings)

    async def live(number: int) -> OrderState:
        order = an_order(f"burst-{many}-{number}")
        handle = await start_order(client, order, Policy())
        await handle.signal(OrderWorkflow.approve_order)
        return (await handle.result()).state

    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(150):
        ends = await asyncio.gather(*(live(number) for number in range(many)))
    record_property("seconds", asyncio.get_running_loop().time() - began)
    assert ends == [OrderState.SHIPPED] * many
    assert settings.database_url
    engine = connect_to_database(settings.database_url.get_secret_value())
    assert count_by_state(engine) == {"shipped": many}
    assert audit(engine) == []
    engine.dispose()
