"""A worker is killed after the database's commit and before its report to Temporal.

Temporal gives the step to the next worker, which runs it a second time. That must change nothing.
"""

from __future__ import annotations

import signal

import pytest
from temporalio.api.enums.v1 import EventType as Happened
from temporalio.client import WorkflowFailureError, WorkflowUpdateStage

from order_lifecycle.domain import MOVES, Address, EventType
from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.workflows.order import OrderWorkflow
from tests.chaos.world import World
from tests.support.repeats import everyday
from tests.support.waiting import until

ACCEPTED = WorkflowUpdateStage.ACCEPTED
SHIPPING = "order_lifecycle.workers.shipping_worker"
ELSEWHERE = Address(address="5 Lake Dr.", city="Temp", state="AL", zipcode="43561")

HAPPY_PATH = [EventType.ORDER_RECEIVED, *MOVES]
# Each step of an order, with whose it is and the last event that it writes.
STEPS = {
    "receive_order": ("order", "order_received"),
    "validate_order": ("order", "review_requested"),
    "approve_order": ("order", "order_approved"),
    "charge_payment": ("order", "payment_charged"),
    "prepare_package": ("shipping", "package_prepared"),
    "dispatch_carrier": ("shipping", "carrier_dispatched"),
    "ship_order": ("order", "order_shipped"),
}


async def killed_in(world: World, worker: ChildProcess, step: str, workflow_id: str) -> None:
    """Wait until the worker was killed, and check that Temporal still waits for the step."""
    await until(lambda: not worker.alive, what=f"the {worker.name} to be killed in {step}", timeout=20)
    assert worker.status == -signal.SIGKILL, worker.describe_exit()
    about = await world.client.get_workflow_handle(workflow_id).describe()
    assert step in [pending.activity_type.name for pending in about.raw_description.pending_activities]


async def attempts(world: World, workflow_id: str, step: str) -> int:
    """Return the number of attempts of the step."""
    history = await world.client.get_workflow_handle(workflow_id).fetch_history()
    (scheduled,) = (
        event.event_id
        for event in history.events
        if event.event_type == Happened.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
        and event.activity_task_scheduled_event_attributes.activity_type.name == step
    )
    (started,) = (
        event.activity_task_started_event_attributes
        for event in history.events
        if event.event_type == Happened.EVENT_TYPE_ACTIVITY_TASK_STARTED
        and event.activity_task_started_event_attributes.scheduled_event_id == scheduled
    )
    return int(started.attempt)


@pytest.mark.parametrize("step", everyday("charge_payment", of=STEPS))
async def test_a_step_whose_worker_is_killed_after_the_commit_counts_once(world: World, step: str) -> None:
    kind, last_event = STEPS[step]
    order_id = f"killed-{step}"
    other = world.worker("shipping" if kind == "order" else "order")
    dying = world.dying_worker(kind, step)
    order = await world.start(order_id)
    await order.signal(OrderWorkflow.approve_order)
    workflow_id = f"order-{order_id}" if kind == "order" else f"ship-{order_id}-1"
    await killed_in(world, dying, step, workflow_id)
    done = world.events(order_id)
    assert done == HAPPY_PATH[: HAPPY_PATH.index(EventType(last_event)) + 1]
    world.worker(kind)
    assert (await order.result()).state == "shipped"
    assert await attempts(world, workflow_id, step) >= 2
    assert world.events(order_id) == HAPPY_PATH
    assert world.payments(order_id) == ["charged"]
    assert other.alive


async def test_a_refund_whose_worker_is_killed_after_the_commit_counts_once(world: World) -> None:
    """The second attempt must not refund again."""
    dying = world.dying_worker("order", "close_order")
    order = await world.start("killed-close_order")
    await order.signal(OrderWorkflow.approve_order)
    # There is no shipping worker: the order is charged and comes no further.
    await until(lambda: world.state("killed-close_order") == "charged", what="the charge", timeout=20)
    await order.signal(OrderWorkflow.cancel_order, "never mind")
    await killed_in(world, dying, "close_order", order.id)
    closed = [*HAPPY_PATH[:5], "payment_refunded", "order_cancelled"]
    assert world.events("killed-close_order") == closed
    world.worker("order")
    assert (await order.result()).state == "cancelled"
    assert await attempts(world, order.id, "close_order") >= 2
    assert world.events("killed-close_order") == closed
    assert world.payments("killed-close_order") == ["refunded"]


@pytest.mark.proof
async def test_an_update_whose_worker_is_killed_after_the_commit_is_answered(world: World) -> None:
    """The caller of the Update gets the answer from the next worker."""
    dying = world.dying_worker("order", "change_address")
    world.worker("shipping")
    order = await world.start("killed-change_address")
    await until(lambda: world.state("killed-change_address") == "awaiting_review", what="the review", timeout=20)
    asked = await order.start_update(OrderWorkflow.change_address, ELSEWHERE, wait_for_stage=ACCEPTED)
    await killed_in(world, dying, "change_address", order.id)
    assert world.events("killed-change_address") == [*HAPPY_PATH[:3], "address_changed"]
    world.worker("order")
    assert (await asked.result()).message == "goes to 5 Lake Dr., Temp"
    await order.signal(OrderWorkflow.approve_order)
    assert (await order.result()).state == "shipped"
    assert await attempts(world, order.id, "change_address") >= 2
    assert world.events("killed-change_address") == [*HAPPY_PATH[:3], "address_changed", *HAPPY_PATH[3:]]
    assert world.store.rows("orders", "killed-change_address")[0]["address_json"] == ELSEWHERE.model_dump()


@pytest.mark.proof
async def test_a_note_whose_worker_is_killed_after_the_commit_is_recorded_once(world: World) -> None:
    """A note does not change the order, but it must not be recorded twice."""
    dying = world.dying_worker("order", "note_event")
    world.run("shipping worker", SHIPPING, "--lifeline", "--always-fail=dispatch_carrier")
    order = await world.start("killed-note_event")
    await order.signal(OrderWorkflow.approve_order)
    await killed_in(world, dying, "note_event", order.id)
    assert world.events("killed-note_event") == [*HAPPY_PATH[:6], "dispatch_failed"]
    world.worker("order")
    with pytest.raises(WorkflowFailureError):
        await order.result()
    failed = ["dispatch_failed"] * 3
    assert world.events("killed-note_event") == [*HAPPY_PATH[:6], *failed, "payment_refunded", "order_failed"]
    assert world.payments("killed-note_event") == ["refunded"]
