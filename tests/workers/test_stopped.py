"""A worker freezes in the middle of a step, or is gone. It reports nothing, and the server notices."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import TimeoutType
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from order_lifecycle.cli.report import Report, fetch_report
from order_lifecycle.client import connect, start_order
from order_lifecycle.domain import LONGEST_RETRY_INTERVAL, Order, OrderState, Policy
from order_lifecycle.settings import Settings
from order_lifecycle.workflows.order import ORDER_QUEUE
from tests.support.orders import an_order
from tests.support.waiting import until
from tests.support.worker_process import WorkerProcess

ORDER = an_order("stopped-1")


async def test_status_shows_that_an_attempt_timed_out(
    start_worker: Callable[..., WorkerProcess], environment: dict[str, str], settings: Settings
) -> None:
    worker = start_worker("order", "--faults-hang=1", environment=environment)
    client = await connect(settings)
    order = await start_order(client, ORDER, Policy())
    await until_attempt(order, 1, running=True)
    worker.process.send_signal(signal.SIGSTOP)
    try:
        await until_attempt(order, 2)
        report = await fetch_report(client, ORDER.id)
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


async def until_attempt(order: WorkflowHandle[Any, Any], number: int, running: bool = False) -> None:
    async def there() -> bool:
        pending = (await order.describe()).raw_description.pending_activities
        return any(it.attempt >= number and (it.HasField("last_started_time") or not running) for it in pending)

    await until(there, what=f"attempt {number}")


async def test_a_step_between_two_attempts_is_not_shown_as_running(
    start_worker: Callable[..., WorkerProcess], settings: Settings
) -> None:
    worker = start_worker("order", "--faults-fail=1")
    client = await connect(settings)
    order = await start_order(client, another("pauses"), Policy(retry_interval=LONGEST_RETRY_INTERVAL))
    await until_attempt(order, 2)
    (pending,) = (await fetch_report(client, "pauses")).pending
    assert (pending.step, pending.attempt, pending.running) == ("receive_order", 2, False)
    worker.end()

    start_worker("order")
    await order.signal("cancel_order")
    await order.result()


@workflow.defn(name="OrderWorkflow", sandboxed=False)
class Broken:
    """Code that cannot continue an order."""

    @workflow.run
    async def run(self, order: Order, policy: Policy) -> None:
        raise RuntimeError("this code cannot go on")


async def test_status_says_that_a_worker_cannot_continue_the_order(settings: Settings) -> None:
    client = await connect(settings)
    async with Worker(client, task_queue=ORDER_QUEUE, workflows=[Broken]), asyncio.timeout(30):
        order = await start_order(client, another("broken"), Policy())
        report = await until_it_says_why(client, "broken")
        assert report.status is None
        assert "order broken: not received yet\n  no answer (Unable to query workflow due to " in report.as_text()
        await order.terminate()
    assert "order broken: never received" in (await fetch_report(client, "broken")).as_text()


async def until_it_says_why(client: Client, order_id: str) -> Report:
    """Ask until the report says why. The server holds the first queries until they time out, and refuses later ones."""
    report: Report = await until(lambda: fetch_report(client, order_id), lambda report: report.unanswered)
    return report


@pytest.mark.proof
async def test_tasks_leave_a_killed_worker_after_the_sticky_timeout(
    start_worker: Callable[..., WorkerProcess], environment: dict[str, str], settings: Settings
) -> None:
    environment |= {"STICKY_SECONDS": "0.3"}
    worker = start_worker("order", environment=environment)
    client = await connect(settings)
    orders = [await start_order(client, another(f"stopped-{number}"), Policy()) for number in range(2, 7)]
    for order in orders:
        while (await order.query("status"))["waiting_for"] != "approve_order":
            pass
    worker.process.kill()
    worker.process.wait()
    for order in orders:
        await order.signal("approve_order")
    start_worker("order", environment=environment)
    for order in orders:
        await order.signal("cancel_order")
        await order.result()

    # The server may hear late that the worker's connection is gone. Until then it hands tasks to the worker's polls,
    # four at most for orders that it remembers (temporalio's default); such a task is given up after 10 s. The fifth
    # order's task found no poll.
    waited = [span for order in orders async for span in times_that_no_worker_took_a_task(order)]
    assert timedelta(seconds=0.3) <= min(waited) < timedelta(seconds=1)


async def times_that_no_worker_took_a_task(order: WorkflowHandle[Any, Any]) -> AsyncIterator[timedelta]:
    events = (await order.fetch_history()).events
    for event in events:
        timed_out = event.workflow_task_timed_out_event_attributes
        if timed_out.timeout_type == TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START:
            scheduled = events[timed_out.scheduled_event_id - 1]
            yield event.event_time.ToDatetime() - scheduled.event_time.ToDatetime()


def another(order_id: str) -> Order:
    return ORDER.model_copy(update={"id": order_id, "payment_id": order_id})
