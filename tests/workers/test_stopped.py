"""A worker that stands still in the middle of a step: it says nothing, and the server sees it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

from temporalio.client import WorkflowHandle
from worker_process import WorkerProcess

from order_lifecycle.client import connect, start_order
from order_lifecycle.domain import OrderState, Policy, parse_order
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
