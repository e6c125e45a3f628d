"""A worker that stands still in the middle of a step, or is gone: it says nothing, and the server sees it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from datetime import timedelta

from temporalio.client import WorkflowHandle
from worker_process import WorkerProcess

from order_lifecycle.client import connect, start_order
from order_lifecycle.domain import Order, OrderState, Policy, parse_order
from order_lifecycle.report import Report, look_at
from order_lifecycle.settings import Settings

ORDER = parse_order(
    "stopped-1",
    "pay-stopped-1",
    '[{"name": "apple", "qty": 1, "price": 5}]',
    '{"address": "575 Lake Dr.", "city": "Columbus", "state": "OH", "zipcode": "43210"}',
)


async def test_status_tells_of_the_time_out(
    start_worker: Callable[..., WorkerProcess], environment: dict[str, str], settings: Settings
) -> None:
    worker = start_worker("order", "--faults-hang=1", environment=environment)
    client = await connect(settings)
    order = await start_order(client, ORDER, Policy())
    await until_attempt(order, 1, running=True)
    worker.process.send_signal(signal.SIGSTOP)
    try:
        await until_attempt(order, 2)
        report = await look_at(client, ORDER.id)
    finally:
        worker.process.send_signal(signal.SIGCONT)
    said(report)
    worker.end()

    another = start_worker("order")
    await order.signal("cancel_order")
    assert (await order.result()).state is OrderState.CANCELLED
    assert another.end() == 0


def said(report: Report) -> None:
    (pending,) = report.pending
    assert pending.last_failure == "activity StartToClose timeout"
    assert report.status is None
    assert f"attempt    receive_order, number {pending.attempt}, last failure: {pending.last_failure}" in (
        report.as_text()
    )
    assert "no worker answered; this is what the server knows" in report.as_text()


async def until_attempt(order: WorkflowHandle[object, object], number: int, running: bool = False) -> None:
    give_up = time.monotonic() + 30
    while True:
        pending = (await order.describe()).raw_description.pending_activities
        if any(it.attempt >= number and (it.HasField("last_started_time") or not running) for it in pending):
            return
        assert time.monotonic() < give_up, "not in time"
        await asyncio.sleep(0.02)  # between two looks


async def test_how_long_a_task_waits_for_the_worker_that_remembers_its_order(
    start_worker: Callable[..., WorkerProcess], environment: dict[str, str], settings: Settings
) -> None:
    environment |= {"STICKY_SECONDS": "0.3"}
    worker = start_worker("order", environment=environment)
    order = await start_order(await connect(settings), another("stopped-2"), Policy())
    while (await order.query("status"))["waiting_for"] != "approve_order":
        pass
    worker.process.kill()
    worker.process.wait()
    await order.signal("approve_order")
    start_worker("order", environment=environment)
    await order.signal("cancel_order")
    await order.result()

    events = (await order.fetch_history()).events
    (timed_out,) = [event for event in events if event.HasField("workflow_task_timed_out_event_attributes")]
    scheduled = events[timed_out.workflow_task_timed_out_event_attributes.scheduled_event_id - 1]
    waited = timed_out.event_time.ToDatetime() - scheduled.event_time.ToDatetime()
    assert timedelta(seconds=0.3) <= waited < timedelta(seconds=1)


def another(order_id: str) -> Order:
    return ORDER.model_copy(update={"id": order_id, "payment_id": order_id})
