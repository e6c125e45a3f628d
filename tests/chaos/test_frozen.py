"""A worker that freezes between UPDATE and COMMIT locks its order's row, and yet other workers continue.

PostgreSQL ends its transaction, and Temporal gives its tasks to the next worker.
"""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta

import psutil
import pytest

from order_lifecycle.domain import Policy
from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.workflows.order import OrderWorkflow
from tests.chaos.world import World
from tests.support.waiting import until

# A task of the workflow that a frozen worker has taken is given to another one after 10 s: that is Temporal's default.
# What is tested here is not how many of them an order may meet in the time that it has.
PATIENT = Policy(budget=timedelta(minutes=10))


def frozen(worker: ChildProcess) -> bool:
    assert worker.alive, worker.describe_exit()
    return bool(psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED)


def go_on(worker: ChildProcess) -> None:
    os.kill(worker.pid, signal.SIGCONT)


@pytest.mark.proof
async def test_an_order_that_a_frozen_worker_has_locked_is_shipped_by_another(world: World) -> None:
    freezing = world.run("freezing worker", "tests.chaos.freezing_worker")
    world.worker("shipping")
    order = await world.start("frozen", PATIENT)
    await order.signal(OrderWorkflow.approve_order)
    await until(lambda: frozen(freezing), what="the worker to be frozen", timeout=60)
    healthy = world.worker("order")
    others = [await world.start(f"beside-{number}", PATIENT) for number in range(4)]
    for other in others:
        await other.signal(OrderWorkflow.approve_order)
    async with asyncio.timeout(120):
        assert [(await one.result()).state for one in [order, *others]] == ["shipped"] * 5
    assert world.payments("frozen") == ["charged"]

    go_on(freezing)  # and it is a worker as before
    await until(lambda: "charge_payment" in freezing.log(), what="its failure to be told", timeout=20)
    assert "Traceback" not in freezing.log()
    healthy.stop()
    last = await world.start("after-it", PATIENT)
    await last.signal(OrderWorkflow.approve_order)
    async with asyncio.timeout(120):
        assert (await last.result()).state == "shipped"


@pytest.mark.proof
async def test_an_order_that_a_frozen_worker_has_locked_can_be_cancelled(world: World) -> None:
    freezing = world.run("freezing worker", "tests.chaos.freezing_worker")
    order = await world.start("locked", PATIENT)
    await order.signal(OrderWorkflow.approve_order)
    await until(lambda: frozen(freezing), what="the worker to be frozen", timeout=60)
    world.worker("order")
    await order.signal(OrderWorkflow.cancel_order, "never mind")
    async with asyncio.timeout(120):
        assert (await order.result()).state == "cancelled"
    go_on(freezing)


@pytest.mark.proof
@pytest.mark.timeout(600)
async def test_ten_frozen_workers_do_not_stop_other_orders(world: World) -> None:
    freezing = [world.run(f"freezing worker {number}", "tests.chaos.freezing_worker") for number in range(10)]
    world.worker("shipping")
    locked = [await world.start(f"locked-{number}", PATIENT) for number in range(10)]
    for order in locked:
        await order.signal(OrderWorkflow.approve_order)
    # Each attempt at a charge freezes the worker that has it, until there is none left.
    await until(lambda: all(frozen(worker) for worker in freezing), what="all to be frozen", timeout=180)
    world.worker("order")
    others = [await world.start(f"other-{number}", PATIENT) for number in range(40)]
    for order in others:
        await order.signal(OrderWorkflow.approve_order)
    for order in locked[:5]:
        await order.signal(OrderWorkflow.cancel_order, "never mind")
    async with asyncio.timeout(300):
        ends = [(await order.result()).state for order in [*locked, *others]]
    assert ends[10:] == ["shipped"] * 40
    assert set(ends[:5]) <= {"cancelled", "shipped"}  # an early one may have been charged and shipped before
    assert ends[5:10] == ["shipped"] * 5
    for worker in freezing:
        go_on(worker)
