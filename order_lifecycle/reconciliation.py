"""Compare the rows of orders with their workflows: what differs, and what to do about it.

This is the seventh invariant, which `order-lifecycle audit` checks beside those of db/audit.py.
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

# A workflow task that fails is tried again for ever, at longer and longer intervals. After so many
# attempts (about 20 s) it is no passing trouble.
STUCK_AFTER = 5
CLOSED_BY_FORCE = {WorkflowExecutionStatus.TERMINATED, WorkflowExecutionStatus.TIMED_OUT}


def repair_hint(order_id: str) -> str:
    """What to do about an order that its workflow does not bring to its right end."""
    return f"`order-lifecycle repair {order_id}` cancels and refunds it, or ships it if it must"


def trouble_of(execution: WorkflowExecution) -> str | None:
    """Return why this workflow will not end by itself, or None. Whether it can go on shows in its
    description only, not in a list of workflows.
    """
    if execution.status in CLOSED_BY_FORCE:
        return f"its workflow is {execution.status.name.lower().replace('_', ' ')}"
    if isinstance(execution, WorkflowExecutionDescription):
        attempt = execution.raw_description.pending_workflow_task.attempt
        if attempt >= STUCK_AFTER:
            return f"its workflow cannot go on: its task failed {attempt - 1} times"
    return None


# How each end of an order shows in Temporal. An order that has not ended must be running.
ENDS = {
    OrderState.SHIPPED: {WorkflowExecutionStatus.COMPLETED},
    OrderState.CANCELLED: {WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.CANCELED},
    OrderState.FAILED: {WorkflowExecutionStatus.FAILED},
}
PAID = {OrderState.CHARGED, OrderState.PACKED, OrderState.DISPATCHED}
# A workflow closes a moment after its last step has changed the row.
SETTLE_TIMEOUT = timedelta(seconds=5)


async def compare_with_temporal(
    client: Client, order_states: Callable[[], dict[str, StoredState]]
) -> list[Violation]:
    """Every violation of invariant 7. `order_states` reads where every order's row stands."""
    forgets = datetime.now(UTC) - await _retention(client)
    rows = order_states()
    seen: dict[str, WorkflowExecution] = {}
    async for execution in client.list_workflows("WorkflowType = 'OrderWorkflow'"):
        seen[order_id_of(execution.id)] = execution
    suspects = [
        order_id
        for order_id in rows.keys() | seen.keys()
        if _differ(rows.get(order_id), seen.get(order_id), forgets) or _is_paid(rows.get(order_id))
    ]
    found: dict[str, str] = {}
    deadline = datetime.now(UTC) + SETTLE_TIMEOUT
    while suspects:
        rows = order_states()
        looks = {
            order_id: _differ(
                rows.get(order_id), await describe_or_none(client, workflow_id(order_id)), forgets
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
    (`temporal server start-dev`: one day).
    """
    namespace = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace)
    )
    return namespace.config.workflow_execution_retention_ttl.ToTimedelta()


async def describe_or_none(client: Client, workflow: str) -> WorkflowExecutionDescription | None:
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
    return _differ(row, await describe_or_none(client, workflow_id(order_id)), forgets)


def _differ(
    row: StoredState | None, execution: WorkflowExecution | None, forgets: datetime
) -> str | None:
    """In what the row and the workflow differ. Of what ended before `forgets`, Temporal need not
    know anything.
    """
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
        return differ if row is None else f"{differ}: {repair_hint(order_id_of(execution.id))}"
    trouble = trouble_of(execution)
    if _is_paid(row) and trouble:
        return f"the row is {state}, and {trouble}: {repair_hint(order_id_of(execution.id))}"
    if state in ENDS and ended_as != state:
        return f"the row is {state}, the workflow ended as {ended_as}"
    return None
