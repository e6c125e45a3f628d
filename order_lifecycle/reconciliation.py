"""Compare each order's row with its workflow. Say what differs, and what to do about it.

This is invariant 7. `order-lifecycle audit` checks it together with those of db/audit.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
)
from temporalio.service import RPCError, RPCStatusCode

from order_lifecycle.client import order_id_of, workflow_id
from order_lifecycle.db.audit import Violation
from order_lifecycle.db.store import StoredState
from order_lifecycle.domain import OrderState
from order_lifecycle.workflows.progress import ORDER_STATE

# Temporal retries a failed workflow task for ever, with growing intervals. If it still fails after
# this many attempts (about 20 s), we report the workflow as stuck.
STUCK_AFTER = 5
CLOSED_BY_FORCE = {WorkflowExecutionStatus.TERMINATED, WorkflowExecutionStatus.TIMED_OUT}


def repair_hint(order_id: str) -> str:
    """Return the next step for an order whose workflow was closed by force or cannot go on."""
    return f"`order-lifecycle repair {order_id}` cancels and refunds it, or ships it if it must"


def trouble_of(execution: WorkflowExecution) -> str | None:
    """Return why this workflow will not bring its order to an end, or None if it can.

    A list of workflows does not say whether a workflow task fails. So pass a description if that
    matters.
    """
    if execution.status in CLOSED_BY_FORCE:
        return f"its workflow is {execution.status.name.lower().replace('_', ' ')}"
    if isinstance(execution, WorkflowExecutionDescription):
        attempt = execution.raw_description.pending_workflow_task.attempt
        if attempt >= STUCK_AFTER:
            return f"its workflow cannot go on: its task failed {attempt - 1} times"
    return None


# The workflow statuses that fit each final state of an order. In any other state, the workflow must
# be running.
ENDS = {
    OrderState.SHIPPED: {WorkflowExecutionStatus.COMPLETED},
    OrderState.CANCELLED: {WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.CANCELED},
    OrderState.FAILED: {WorkflowExecutionStatus.FAILED},
}
PAID = {OrderState.CHARGED, OrderState.PACKED, OrderState.DISPATCHED}
# The workflow closes a moment after its last step has changed the row, so a difference counts only
# if it lasts this long.
SETTLE_TIMEOUT = timedelta(seconds=5)


async def compare_with_temporal(
    client: Client, order_states: Callable[[], dict[str, StoredState]]
) -> list[Violation]:
    """Return every violation of invariant 7.

    Args:
        client: A client of the namespace that has the orders.
        order_states: Reads the state of every order from the database.

    Raises:
        RPCError: If Temporal refuses a request.
    """
    forgotten_before = datetime.now(UTC) - await _retention(client)
    rows = order_states()
    seen: dict[str, WorkflowExecution] = {}
    async for execution in client.list_workflows("WorkflowType = 'OrderWorkflow'"):
        seen[order_id_of(execution.id)] = execution
    suspects = [
        order_id
        for order_id in rows.keys() | seen.keys()
        if _difference(rows.get(order_id), seen.get(order_id), forgotten_before)
        or _is_paid(rows.get(order_id))  # only its description says whether it is stuck
    ]
    found: dict[str, str] = {}
    deadline = datetime.now(UTC) + SETTLE_TIMEOUT
    while suspects:
        rows = order_states()
        differences = {
            order_id: _difference(
                rows.get(order_id),
                await describe_or_none(client, workflow_id(order_id)),
                forgotten_before,
            )
            for order_id in suspects
        }
        found = {order_id: text for order_id, text in differences.items() if text}
        suspects = list(found)
        if datetime.now(UTC) > deadline:
            break
        await asyncio.sleep(0.2 if suspects else 0)  # s until the next comparison
    return [Violation(7, order_id, found[order_id]) for order_id in sorted(found)]


async def _retention(client: Client) -> timedelta:
    """Return how long the server keeps the history of a workflow that has ended.

    For `temporal server start-dev` this is one day.
    """
    namespace = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace)
    )
    return namespace.config.workflow_execution_retention_ttl.ToTimedelta()


async def describe_or_none(client: Client, workflow: str) -> WorkflowExecutionDescription | None:
    """Return the description of the workflow with this ID, or None if Temporal has none.

    Raises:
        RPCError: If Temporal refuses the request.
    """
    try:
        return await client.get_workflow_handle(workflow).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


def _is_paid(row: StoredState | None) -> bool:
    """Return True if the order is charged and has not ended, so that its workflow must go on."""
    return row is not None and row.state in PAID


async def difference(
    client: Client, order_id: str, order_states: Callable[[], dict[str, StoredState]]
) -> str | None:
    """Return how an order's row and its workflow differ, or None if they agree.

    Raises:
        RPCError: If Temporal refuses a request.
    """
    forgotten_before = datetime.now(UTC) - await _retention(client)
    row = order_states().get(order_id)
    return _difference(row, await describe_or_none(client, workflow_id(order_id)), forgotten_before)


def _difference(
    row: StoredState | None, execution: WorkflowExecution | None, forgotten_before: datetime
) -> str | None:
    """Return how the row and the workflow differ, or None if they agree.

    Temporal deletes a workflow some time after its end. So an order that ended before
    `forgotten_before` needs no workflow.
    """
    state = row.state if row else None
    if execution is None:
        if row and row.state in ENDS and row.since < forgotten_before:
            return None
        return f"the row is {state}, and Temporal knows no such order" if row else None
    status = execution.status or WorkflowExecutionStatus.RUNNING
    ended_as = execution.typed_search_attributes.get(ORDER_STATE)
    if row and status is WorkflowExecutionStatus.FAILED and ended_as is None:
        # The first step refused this run, because the row belongs to an earlier run. Temporal no
        # longer has that run, so the row is right only if the order has ended.
        return None if row.state in ENDS else f"the row is {state}, and its workflow is gone"
    if state is None:  # the order is not received yet, or never will be
        agrees = status in {
            *(WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.FAILED),
            *CLOSED_BY_FORCE,
        }
    else:
        agrees = status in ENDS.get(state, {WorkflowExecutionStatus.RUNNING})
    if not agrees:
        if row is None:
            return f"there is no row, but the workflow is {status.name.lower()}"
        hint = repair_hint(order_id_of(execution.id))
        return f"the row is {state}, the workflow {status.name.lower()}: {hint}"
    trouble = trouble_of(execution)
    if _is_paid(row) and trouble:
        return f"the row is {state}, and {trouble}: {repair_hint(order_id_of(execution.id))}"
    if state in ENDS and ended_as != state:
        return f"the row is {state}, the workflow ended as {ended_as}"
    return None
