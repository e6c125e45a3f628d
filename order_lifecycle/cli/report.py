"""What can be known of an order from outside: from itself, by its query, and from the server, which
also sees the attempts that are under way."""

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

LONGEST_FAILURE = 300  # characters, of what is shown of it
# How long a worker has to answer a query before we say that none does.
QUERY_TIMEOUT = timedelta(seconds=5)


class PendingActivity(BaseModel):
    """An activity that is scheduled or under way, as the server knows it."""

    step: str
    attempt: int
    running: bool
    last_failure: str | None


class Report(BaseModel):
    order_id: str
    workflow: str
    state: str | None
    status: OrderStatus | None
    unanswered: str | None = None  # why there is no status, if a worker is there to answer
    pending: list[PendingActivity]
    trouble: str | None = None  # why its workflow will not bring it to its right end
    events: list[str] = []

    @property
    def ended(self) -> bool:
        return self.workflow != "running"

    def as_text(self) -> str:
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
    """The order as the server knows it, and, if a worker answers, as it sees itself. Raises
    RPCError (NOT_FOUND) if there is no such order."""
    handle = client.get_workflow_handle(workflow_id(order_id))
    description, (status, unanswered) = await _both(
        handle.describe(), _ask(handle.query(OrderWorkflow.status, rpc_timeout=QUERY_TIMEOUT))
    )
    pending = list(description.raw_description.pending_activities)
    for child in description.raw_description.pending_children:
        shipping = await describe_or_none(client, child.workflow_id)
        if shipping is not None:  # it is only being started
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
    """Their answers, at the same time. If one fails, the other is waited for all the same: a call
    that is answered after the event loop has been closed ends in a traceback."""
    one, two = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(two, BaseException):
        raise two
    return one, two


async def _ask(query: Awaitable[OrderStatus]) -> tuple[OrderStatus | None, str | None]:
    """The answer; or why there is none, unless that is for want of a worker."""
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
    """Whether a query has failed because no worker is there: it gets no answer in time, or, after
    a while, the server says at once that nobody polls."""
    return error.status in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED) or (
        error.status is RPCStatusCode.FAILED_PRECONDITION and "poller" in error.message
    )


def _workflow_status(description: WorkflowExecutionDescription) -> str:
    status = description.status or WorkflowExecutionStatus.RUNNING
    return status.name.lower()


def is_attempt_running(activity: PendingActivityInfo) -> bool:
    """Whether a worker has an attempt of it. (`last_started_time` does not say so: while an attempt
    waits for its turn, it is that of the one before.)"""
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

    The outer ones say what Temporal makes of it: "Activity task failed", or that the failure was
    too large to be kept.
    """
    said = None
    while True:
        lines = failure.message.strip().splitlines()
        said = lines[0] if lines else said
        if not failure.HasField("cause"):
            return said and _short(said)
        failure = failure.cause


def _short(line: str) -> str:
    return line if len(line) <= LONGEST_FAILURE else f"{line[: LONGEST_FAILURE - 1]}…"


class ListedOrder(BaseModel):
    order_id: str
    state: str | None
    total: str | None
    workflow: str
    started: datetime


async def list_orders(client: Client, state: OrderState | None, limit: int) -> list[ListedOrder]:
    """At most `limit` orders, as Temporal's visibility store has them (which lags a little behind):
    first those that run, then those that ended last, as that store sorts them."""
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
