"""The floor: a workflow of the same shape as an order's, with as many activities, one signal and one child, and nothing
in them: no database, no models, no rules. What an order takes more than this is ours; the rest is Temporal's.

Its steps can be retried in three ways, which is what `benchmarks.retries` compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from order_lifecycle.activities.base import CALL_SHARE
    from order_lifecycle.faults import HANG_SECONDS, Faults
    from order_lifecycle.workflows.attempts import BACKOFF

QUEUES = {"order": "bare-order-tq", "shipping": "bare-shipping-tq"}
# Those of the order's steps that call the outside world; `approve_order` does not.
STEPS = ("receive_order", "validate_order", "charge_payment", "prepare_package", "dispatch_carrier", "ship_order")


class Retries(StrEnum):
    """Who tries a failed step again, and who ends a call that hangs."""

    CALL_LIMIT = "the server; the call has a limit of its own"
    START_TO_CLOSE = "the server; only start-to-close ends a call"
    LOCAL = "the worker (local activities)"


@dataclass
class Plan:
    """How one bare order is to go."""

    fail: float = 0.0
    hang: float = 0.0
    seed: int = 0
    retries: Retries = Retries.CALL_LIMIT
    attempt_seconds: float = 0.375  # what an order's attempts have when the budget is 15 s, at its beginning


@activity.defn
def bare_step(step: str, plan: Plan) -> None:
    if step not in STEPS:
        return
    info = activity.info()
    limit = HANG_SECONDS if plan.retries is Retries.START_TO_CLOSE else plan.attempt_seconds * CALL_SHARE
    outside = Faults(plan.fail, plan.hang, plan.seed)
    # Not the workflow's id, which is another for each way: so that all of them meet the same failures.
    order = (info.workflow_id or "").partition("/")[2]
    outside.call(order, step, info.attempt, limit, activity.wait_for_cancelled_sync)


async def take(step: str, plan: Plan) -> None:
    attempt = timedelta(seconds=plan.attempt_seconds)
    retry = RetryPolicy(
        initial_interval=timedelta(milliseconds=10),
        backoff_coefficient=BACKOFF,
        maximum_interval=timedelta(seconds=5),
    )
    if plan.retries is Retries.LOCAL:
        await workflow.execute_local_activity(
            bare_step, args=[step, plan], start_to_close_timeout=attempt, retry_policy=retry
        )
    else:
        await workflow.execute_activity(
            bare_step, args=[step, plan], start_to_close_timeout=attempt, retry_policy=retry
        )


@workflow.defn
class BareOrder:
    def __init__(self) -> None:
        self._approved = False

    @workflow.run
    async def run(self, plan: Plan) -> None:
        await take("receive_order", plan)
        await take("validate_order", plan)
        await workflow.wait_condition(lambda: self._approved)
        await take("approve_order", plan)
        await take("charge_payment", plan)
        await workflow.execute_child_workflow(
            BareShipping.run, plan, id=f"ship-{workflow.info().workflow_id}", task_queue=QUEUES["shipping"]
        )
        await take("ship_order", plan)

    @workflow.signal
    def approve(self) -> None:
        self._approved = True

    @workflow.update
    def are_you_there(self) -> bool:
        return True


@workflow.defn
class BareShipping:
    @workflow.run
    async def run(self, plan: Plan) -> None:
        await take("prepare_package", plan)
        await take("dispatch_carrier", plan)
