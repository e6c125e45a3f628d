"""What can be known of an order from outside: from itself, by its query, and from the server, which
also sees the attempts that are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from pydantic import BaseModel
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
)
from temporalio.service import RPCError, RPCStatusCode

from order_lifecycle.client import workflow_id
from order_lifecycle.db.audit import Violation
from order_lifecycle.db.store import StoredState
from order_lifecycle.domain import OrderState, OrderStatus
from order_lifecycle.visible import visible
from order_lifecycle.workflows.order import ORDER_STATE, ORDER_TOTAL, OrderWorkflow

T = TypeVar("T")
U = TypeVar("U")

LONGEST_FAILURE = 300  # characters, of what is shown of it
# How long a worker has to answer a query before we say that none does.
QUERY_WITHIN = timedelta(seconds=5)


class Pending(BaseModel):
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
    pending: list[Pending]
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
            yield f"  trouble    {self.trouble}: {way_out(self.order_id)}"
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


# A workflow task that fails is tried again for ever, at longer and longer intervals. After so many
# attempts (about 20 s) it is no passing trouble.
STUCK_AFTER = 5
CLOSED_BY_FORCE = {WorkflowExecutionStatus.TERMINATED, WorkflowExecutionStatus.TIMED_OUT}


def way_out(order_id: str) -> str:
    """What to do about an order that its workflow does not bring to its right end."""
    return f"`order-lifecycle repair {order_id}` cancels and refunds it, or ships it if it must"


def trouble_of(execution: WorkflowExecution) -> str | None:
    """Return why this workflow will not end by itself, or None. Whether it can go on shows in its
    description only, not in a list of workflows."""
    if execution.status in CLOSED_BY_FORCE:
        return f"its workflow is {execution.status.name.lower().replace('_', ' ')}"
    if isinstance(execution, WorkflowExecutionDescription):
        attempt = execution.raw_description.pending_workflow_task.attempt
        if attempt >= STUCK_AFTER:
            return f"its workflow cannot go on: its task failed {attempt - 1} times"
    return None


async def look_at(client: Client, order_id: str) -> Report:
    """The order as the server knows it, and, if a worker answers, as it sees itself. Raises
    RPCError (NOT_FOUND) if there is no such order."""
    handle = client.get_workflow_handle(workflow_id(order_id))
    description, (status, unanswered) = await _both(
        handle.describe(), _ask(handle.query(OrderWorkflow.status, rpc_timeout=QUERY_WITHIN))
    )
    pending = list(description.raw_description.pending_activities)
    for child in description.raw_description.pending_children:
        shipping = await _description(client, child.workflow_id)
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
        if nobody_answers(error):
            return None, None
        if error.status is RPCStatusCode.FAILED_PRECONDITION:
            return None, error.message
        raise
    except WorkflowQueryFailedError as error:
        return None, str(error)


def nobody_answers(error: RPCError) -> bool:
    """Whether a query has failed because no worker is there: it gets no answer in time, or, after
    a while, the server says at once that nobody polls."""
    return error.status in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED) or (
        error.status is RPCStatusCode.FAILED_PRECONDITION and "poller" in error.message
    )


def _workflow_status(description: WorkflowExecutionDescription) -> str:
    status = description.status or WorkflowExecutionStatus.RUNNING
    return status.name.lower()


def is_running(activity: PendingActivityInfo) -> bool:
    """Whether a worker has an attempt of it. (`last_started_time` does not say so: while an attempt
    waits for its turn, it is that of the one before.)"""
    return activity.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED


def _pending(activity: PendingActivityInfo) -> Pending:
    return Pending(
        step=activity.activity_type.name,
        attempt=activity.attempt,
        running=is_running(activity),
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


class Listed(BaseModel):
    order_id: str
    state: str | None
    total: str | None
    workflow: str
    started: datetime


# How each end of an order shows in Temporal. An order that has not ended must be running.
ENDS = {
    OrderState.SHIPPED: {WorkflowExecutionStatus.COMPLETED},
    OrderState.CANCELLED: {WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.CANCELED},
    OrderState.FAILED: {WorkflowExecutionStatus.FAILED},
}
PAID = {OrderState.CHARGED, OrderState.PACKED, OrderState.DISPATCHED}
# A workflow closes a moment after its last step has changed the row.
SETTLE_WITHIN = timedelta(seconds=5)


async def compare_with_temporal(
    client: Client, order_states: Callable[[], dict[str, StoredState]]
) -> list[Violation]:
    """Every violation of invariant 7. `order_states` reads where every order's row stands."""
    forgets = datetime.now(UTC) - await _retention(client)
    rows = order_states()
    seen: dict[str, WorkflowExecution] = {}
    async for execution in client.list_workflows("WorkflowType = 'OrderWorkflow'"):
        seen[execution.id.removeprefix("order-")] = execution
    suspects = [
        order_id
        for order_id in rows.keys() | seen.keys()
        if _differ(rows.get(order_id), seen.get(order_id), forgets) or _is_paid(rows.get(order_id))
    ]
    found: dict[str, str] = {}
    deadline = datetime.now(UTC) + SETTLE_WITHIN
    while suspects:
        rows = order_states()
        looks = {
            order_id: _differ(
                rows.get(order_id), await _description(client, workflow_id(order_id)), forgets
            )
            for order_id in suspects
        }
        found = {order_id: difference for order_id, difference in looks.items() if difference}
        suspects = list(found)
        if datetime.now(UTC) > deadline:
            break
        await asyncio.sleep(0.2 if suspects else 0)  # between two looks
    return [Violation(7, order_id, found[order_id]) for order_id in sorted(found)]


async def _retention(client: Client) -> timedelta:
    """How long the server keeps the history of a workflow that has ended
    (`temporal server start-dev`: one day)."""
    namespace = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace)
    )
    return namespace.config.workflow_execution_retention_ttl.ToTimedelta()


async def _description(client: Client, workflow: str) -> WorkflowExecutionDescription | None:
    try:
        return await client.get_workflow_handle(workflow).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


def _is_paid(row: StoredState | None) -> bool:
    """Return True if the order is charged and has not ended: then it must be able to go on."""
    return row is not None and row.state in PAID


async def difference(
    client: Client, order_id: str, order_states: Callable[[], dict[str, StoredState]]
) -> str | None:
    """Return in what an order's row and its workflow differ, or None."""
    forgets = datetime.now(UTC) - await _retention(client)
    row = order_states().get(order_id)
    return _differ(row, await _description(client, workflow_id(order_id)), forgets)


def _differ(
    row: StoredState | None, execution: WorkflowExecution | None, forgets: datetime
) -> str | None:
    """In what the row and the workflow differ. Of what ended before `forgets`, Temporal need not
    know anything."""
    state = row.state if row else None
    if execution is None:
        if row and row.state in ENDS and row.since < forgets:
            return None
        return f"the row is {state}, and Temporal knows no such order" if row else None
    status = execution.status or WorkflowExecutionStatus.RUNNING
    ended_as = execution.typed_search_attributes.get(ORDER_STATE)
    if row and status is WorkflowExecutionStatus.FAILED and ended_as is None:
        # It was refused when it was to be received: the row is another run's, which ended before.
        return None if row.state in ENDS else f"the row is {state}, and its workflow is gone"
    if state is None:  # not received yet, or never
        agrees = status in {
            *(WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.FAILED),
            *CLOSED_BY_FORCE,
        }
    else:
        agrees = status in ENDS.get(state, {WorkflowExecutionStatus.RUNNING})
    if not agrees:
        differ = f"the row is {state}, the workflow {status.name.lower()}"
        return (
            differ if row is None else f"{differ}: {way_out(execution.id.removeprefix('order-'))}"
        )
    trouble = trouble_of(execution)
    if _is_paid(row) and trouble:
        return f"the row is {state}, and {trouble}: {way_out(execution.id.removeprefix('order-'))}"
    if state in ENDS and ended_as != state:
        return f"the row is {state}, the workflow ended as {ended_as}"
    return None


async def list_orders(client: Client, state: OrderState | None, limit: int) -> list[Listed]:
    """At most `limit` orders, as Temporal's visibility store has them (which lags a little behind):
    first those that run, then those that ended last, as that store sorts them."""
    query = "WorkflowType = 'OrderWorkflow'"
    query += f" AND OrderState = '{state.value}'" if state else ""
    found = []
    async for execution in client.list_workflows(query, limit=limit):
        attributes = execution.typed_search_attributes
        total = attributes.get(ORDER_TOTAL)
        found.append(
            Listed(
                order_id=execution.id.removeprefix("order-"),
                state=attributes.get(ORDER_STATE),
                total=None if total is None else f"{total:.2f}",
                workflow=(execution.status or WorkflowExecutionStatus.RUNNING).name.lower(),
                started=execution.start_time,
            )
        )
    return found
