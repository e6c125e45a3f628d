"""Report the status of an order, and list orders.

A report combines the order's own answer to a query with the server's description of its workflow.
The description has the pending activities, and is there without a worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from pydantic import BaseModel
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
)
from temporalio.service import RPCError, RPCStatusCode

from order_lifecycle.client import order_id_of, workflow_id
from order_lifecycle.domain import OrderState, OrderStatus
from order_lifecycle.reconciliation import describe_or_none, repair_hint, trouble_of
from order_lifecycle.visible import visible
from order_lifecycle.workflows.order import OrderWorkflow
from order_lifecycle.workflows.progress import ORDER_STATE, ORDER_TOTAL

T = TypeVar("T")
U = TypeVar("U")

LONGEST_FAILURE = 300  # characters of a failure's message that a report shows
# After this time, a report says that no worker answered the query.
QUERY_TIMEOUT = timedelta(seconds=5)


class PendingActivity(BaseModel):
    """An activity that is scheduled or running, as the server describes it."""

    step: str
    attempt: int
    running: bool
    last_failure: str | None


class Report(BaseModel):
    """What `order-lifecycle status` shows of an order."""

    order_id: str
    workflow: str
    state: str | None
    status: OrderStatus | None
    unanswered: str | None = None  # why a worker could not answer the query
    pending: list[PendingActivity]
    trouble: str | None = None  # why the workflow was closed by force or cannot go on
    events: list[str] = []

    @property
    def ended(self) -> bool:
        """True if the workflow has ended."""
        return self.workflow != "running"

    def as_text(self) -> str:
        """Return the report as lines of text, with hidden characters escaped."""
        first = f"order {self.order_id}: {self.state or self._not_received}"
        return "\n".join(map(visible, [first, *self._lines()]))

    @property
    def _not_received(self) -> str:
        return "never received" if self.ended else "not received yet"

    def _lines(self) -> Iterator[str]:
        status = self.status
        if self.unanswered:
            yield f"  no answer ({self.unanswered}); this is what the server knows"
        elif status is None:
            yield (
                "  no worker answered; this is what the server knows. "
                "`order-lifecycle worker all` starts both"
            )
        elif not self.ended:
            yield f"  step       {status.step}"
            yield f"  waits for  {status.waiting_for}" + self._deadline(status)
        yield f"  workflow   {self.workflow}"
        if self.trouble:
            yield f"  trouble    {self.trouble}: {repair_hint(self.order_id)}"
        for pending in self.pending:
            failure = f", last failure: {pending.last_failure}" if pending.last_failure else ""
            yield f"  attempt    {pending.step}, number {pending.attempt}{failure}"
        if status is not None:
            if status.reason:
                yield f"  reason     {status.reason}"
            yield f"  address    {status.address}"
            yield f"  total      {status.total}"
            if status.shipping_tries:
                yield f"  shipping   try {status.shipping_tries}"
            for error in status.errors:
                yield f"  failed     {error}"
        for event in self.events:
            yield f"  event      {event}"

    @staticmethod
    def _deadline(status: OrderStatus) -> str:
        if status.deadline is None:
            return ""
        left = max(status.deadline - datetime.now(UTC), timedelta(0))
        return f", until {status.deadline:%Y-%m-%d %H:%M} UTC ({str(left).split('.')[0]} left)"


async def fetch_report(client: Client, order_id: str) -> Report:
    """Return a report on the order. It has no `status` if no worker answers the query.

    Raises:
        RPCError: If Temporal refuses. The status is NOT_FOUND if there is no such order.
    """
    handle = client.get_workflow_handle(workflow_id(order_id))
    description, (status, unanswered) = await _both(
        handle.describe(), _ask(handle.query(OrderWorkflow.status, rpc_timeout=QUERY_TIMEOUT))
    )
    pending = list(description.raw_description.pending_activities)
    for child in description.raw_description.pending_children:
        shipping = await describe_or_none(client, child.workflow_id)
        if shipping is not None:  # None while the server still starts the child workflow
            pending += shipping.raw_description.pending_activities
    return Report(
        order_id=order_id,
        workflow=_workflow_status(description),
        state=status.state if status else description.typed_search_attributes.get(ORDER_STATE),
        status=status,
        unanswered=unanswered,
        pending=[_pending(activity) for activity in pending],
        trouble=trouble_of(description),
    )


async def _both(first: Awaitable[T], second: Awaitable[U]) -> tuple[T, U]:
    """Await both at the same time, and return both answers.

    If one fails, this still waits for the other. Otherwise a late answer would meet a closed event
    loop, and print a traceback.
    """
    one, two = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(two, BaseException):
        raise two
    return one, two


async def _ask(query: Awaitable[OrderStatus]) -> tuple[OrderStatus | None, str | None]:
    """Return the answer to the query, or the reason why a worker could not answer.

    If no worker answered, both are None.
    """
    try:
        return await query, None
    except RPCError as error:
        if no_worker_answered(error):
            return None, None
        if error.status is RPCStatusCode.FAILED_PRECONDITION:
            return None, error.message
        raise
    except WorkflowQueryFailedError as error:
        return None, str(error)


def no_worker_answered(error: RPCError) -> bool:
    """Return True if a query failed because no worker runs.

    Then the query times out. Once the task queue has had no poller for a while, the server refuses
    queries at once.
    """
    return error.status in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED) or (
        error.status is RPCStatusCode.FAILED_PRECONDITION and "poller" in error.message
    )


def _workflow_status(description: WorkflowExecutionDescription) -> str:
    status = description.status or WorkflowExecutionStatus.RUNNING
    return status.name.lower()


def is_attempt_running(activity: PendingActivityInfo) -> bool:
    """Return True if a worker runs an attempt at this activity now.

    `last_started_time` does not say this, because it is still set between two attempts.
    """
    return activity.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED


def _pending(activity: PendingActivityInfo) -> PendingActivity:
    return PendingActivity(
        step=activity.activity_type.name,
        attempt=activity.attempt,
        running=is_attempt_running(activity),
        last_failure=_innermost(activity.last_failure),
    )


def _innermost(failure: Failure) -> str | None:
    """Return the first line of the innermost cause that has a message.

    The outer messages are Temporal's own, such as "Activity task failed", and do not name a cause.
    """
    message = None
    while True:
        lines = failure.message.strip().splitlines()
        message = lines[0] if lines else message
        if not failure.HasField("cause"):
            return message and _short(message)
        failure = failure.cause


def _short(line: str) -> str:
    return line if len(line) <= LONGEST_FAILURE else f"{line[: LONGEST_FAILURE - 1]}…"


class ListedOrder(BaseModel):
    """An order as `order-lifecycle list` shows it."""

    order_id: str
    state: str | None
    total: str | None
    workflow: str
    started: datetime


async def list_orders(client: Client, state: OrderState | None, limit: int) -> list[ListedOrder]:
    """Return at most `limit` orders: the running ones first, then those that ended last.

    They come in the order of Temporal's visibility store, which lags behind a little.

    Raises:
        RPCError: If Temporal refuses.
    """
    query = "WorkflowType = 'OrderWorkflow'"
    query += f" AND OrderState = '{state.value}'" if state else ""
    found = []
    async for execution in client.list_workflows(query, limit=limit):
        attributes = execution.typed_search_attributes
        total = attributes.get(ORDER_TOTAL)
        found.append(
            ListedOrder(
                order_id=order_id_of(execution.id),
                state=attributes.get(ORDER_STATE),
                total=None if total is None else f"{total:.2f}",
                workflow=(execution.status or WorkflowExecutionStatus.RUNNING).name.lower(),
                started=execution.start_time,
            )
        )
    return found
