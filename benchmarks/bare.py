"""The bare order: the baseline that every benchmark compares an order with.

Its workflow has the shape of an order's: as many activities, one signal and one child workflow. But its activities do
nothing: there is no database, no model and no rule. So the cost of a bare order is Temporal's part of an order's cost.
The rest is our code's part.

The steps can be retried in three ways, which `benchmarks.retries` compares.
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
# The order's steps that call the outside world. `approve_order` does not.
STEPS = ("receive_order", "validate_order", "charge_payment", "prepare_package", "dispatch_carrier", "ship_order")


class Retries(StrEnum):
    """Who retries a failed step, and who ends a call that hangs."""

    CALL_LIMIT = "the server; the call has its own time limit"
    START_TO_CLOSE = "the server; only start-to-close ends a call"
    LOCAL = "the worker (local activities)"


@dataclass
class Plan:
    """How one bare order runs: the faults of its outside world, and the retries of its steps."""

    fail: float = 0.0
    hang: float = 0.0
    seed: int = 0
    retries: Retries = Retries.CALL_LIMIT
    attempt_seconds: float = 0.375  # the first attempt of an order with a budget of 15 s has as much


@activity.defn
def bare_step(step: str, plan: Plan) -> None:
    """Do nothing, but let the outside world fail or hang as the plan says."""
    if step not in STEPS:
        return
    info = activity.info()
    limit = HANG_SECONDS if plan.retries is Retries.START_TO_CLOSE else plan.attempt_seconds * CALL_SHARE
    outside = Faults(plan.fail, plan.hang, plan.seed)
    # Without the part of the workflow ID that differs from run to run, so that every run meets the same failures.
    order = (info.workflow_id or "").partition("/")[2]
    outside.call(order, step, info.attempt, limit, activity.wait_for_cancelled_sync)


async def run_step(step: str, plan: Plan) -> None:
    """Run one step as an activity, retried as the plan says."""
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
    """The workflow of a bare order."""

    def __init__(self) -> None:
        self._approved = False

    @workflow.run
    async def run(self, plan: Plan) -> None:
        """Run every step, with the shipping steps in a child workflow."""
        await run_step("receive_order", plan)
        await run_step("validate_order", plan)
        await workflow.wait_condition(lambda: self._approved)
        await run_step("approve_order", plan)
        await run_step("charge_payment", plan)
        await workflow.execute_child_workflow(
            BareShipping.run, plan, id=f"ship-{workflow.info().workflow_id}", task_queue=QUEUES["shipping"]
        )
        await run_step("ship_order", plan)

    @workflow.signal
    def approve(self) -> None:
        """Let the order go on after its review."""
        self._approved = True

    @workflow.update
    def are_you_there(self) -> bool:
        """Answer at once. `benchmarks.retries` measures how long this takes while a step fails."""
        return True


@workflow.defn
class BareShipping:
    """The child workflow of a bare order."""

    @workflow.run
    async def run(self, plan: Plan) -> None:
        """Run the two shipping steps."""
        await run_step("prepare_package", plan)
        await run_step("dispatch_carrier", plan)
