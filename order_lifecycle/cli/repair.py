"""Bring an order to its right end whose workflow was closed by force or cannot go on.

The workflow is reset to its first task, without what was sent to it since, and cancelled. What it
did before, the database knows: steps that are done are not done again, a charge is refunded, and an
order whose parcel the carrier has is shipped.
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
# What was sent to the order after its first task, the flood included.
NOT_REAPPLIED = [
    ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL,
    ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE,
    ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_CANCEL_REQUEST,
]


class NotRepairedError(Exception):
    """The order is well, or cannot be repaired like this. The message says which, and what now."""


async def repair(client: Client, store: Store, order_id: str) -> OrderResult | None:
    """Reset an order and cancel it. Return its end, or None if no worker has ended it in time.

    Raises:
        NotRepairedError: The order is well, or there is nothing left to reset.
        RPCError: Temporal refuses.
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
                f"there is no order {order_id}: `order-lifecycle list` shows those that there are"
            ) from None
    if first_task is None:
        raise NotRepairedError(
            f"order {order_id} cannot be reset, because Temporal has no history of it: {wrong}. "
            f"`order-lifecycle tables {order_id}` shows its charge, which has to be refunded "
            "by hand, at the payment provider"
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
    order: WorkflowHandle[OrderWorkflow, OrderResult] = client.get_workflow_handle_for(
        OrderWorkflow.run, handle.id, run_id=reset.run_id
    )
    await order.signal(OrderWorkflow.cancel_order, f"repaired: {wrong.partition(':')[0]}")
    try:
        async with asyncio.timeout(CANCEL_TIMEOUT.total_seconds()):
            return await order.result()
    except TimeoutError:
        return None
