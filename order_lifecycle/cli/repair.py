"""Repair an order whose workflow was closed by force or cannot go on.

This resets the workflow to its first task, drops the messages that it received since, and cancels
it. The database still has every completed step, so no step takes effect twice. The workflow refunds
a charge. If the carrier has the parcel, it ships the order instead.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from order_lifecycle.cli.report import fetch_report
from order_lifecycle.client import workflow_id
from order_lifecycle.db.store import Store
from order_lifecycle.domain import OrderResult
from order_lifecycle.reconciliation import difference
from order_lifecycle.workflows.order import OrderWorkflow

CANCEL_TIMEOUT = timedelta(seconds=10)
# The reset drops these messages. A flood of signals may be what stopped the workflow.
NOT_REAPPLIED = [
    ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL,
    ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE,
    ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_CANCEL_REQUEST,
]


class NotRepairedError(Exception):
    """The order needs no repair, or cannot be reset. The message says which, and the next step."""


async def repair(client: Client, store: Store, order_id: str) -> OrderResult | None:
    """Reset an order and cancel it.

    Returns:
        The order's result, or None if no worker has ended the order within CANCEL_TIMEOUT.

    Raises:
        NotRepairedError: If the order needs no repair, or if Temporal has no history to reset.
        RPCError: If Temporal refuses.
    """
    handle = client.get_workflow_handle(workflow_id(order_id))
    wrong = await difference(client, order_id, store.order_states)
    first_task = None
    try:
        if wrong is None:
            report = await fetch_report(client, order_id)
            raise NotRepairedError(
                f"nothing to repair: order {order_id} is {report.state or 'not received'}, "
                f"its workflow is {report.workflow}, and they agree"
            )
        async for event in handle.fetch_history_events():
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                first_task = event.event_id
                break
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        if wrong is None:
            raise NotRepairedError(
                f"there is no order {order_id}: `order-lifecycle list` shows the orders that exist"
            ) from None
    if first_task is None:
        raise NotRepairedError(
            f"order {order_id} cannot be reset, because Temporal has no history of it: {wrong}. "
            f"`order-lifecycle tables {order_id}` shows its charge. Refund it by hand, at the "
            "payment provider"
        )
    reset = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id),
            workflow_task_finish_event_id=first_task,
            request_id=str(uuid.uuid4()),
            reason="order-lifecycle repair",
            reset_reapply_exclude_types=NOT_REAPPLIED,
        )
    )
    order: WorkflowHandle[OrderWorkflow, OrderResult] = client.get_workflow_handle(
        handle.id, run_id=reset.run_id, result_type=OrderResult
    )
    await order.signal(OrderWorkflow.cancel_order, f"repaired: {wrong.partition(':')[0]}")
    try:
        async with asyncio.timeout(CANCEL_TIMEOUT.total_seconds()):
            return await order.result()
    except TimeoutError:
        return None
