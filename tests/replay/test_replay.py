"""Today's code replays every recorded history."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from order_lifecycle.domain import EventType
from order_lifecycle.workflows.order import OrderWorkflow
from order_lifecycle.workflows.shipping import ShippingWorkflow
from tests.replay.recorded import ENDS, HISTORIES, decoded, end_of, load

FILES = sorted(HISTORIES.glob("*.json"))
every_file = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])

# The events that a step of the story writes in the database.
WRITES = {
    "receive_order": {EventType.ORDER_RECEIVED},
    "validate_order": {EventType.ORDER_VALIDATED, EventType.REVIEW_REQUESTED},
    "approve_order": {EventType.ORDER_APPROVED},
    "charge_payment": {EventType.PAYMENT_CHARGED},
    "prepare_package": {EventType.PACKAGE_PREPARED},
    "dispatch_carrier": {EventType.CARRIER_DISPATCHED},
    "ship_order": {EventType.ORDER_SHIPPED},
    "change_address": {EventType.ADDRESS_CHANGED},
}


@every_file
async def test_replay(path: Path) -> None:
    """If this fails, orders that are running now would break: see record.py for what to do."""
    replayer = Replayer(
        workflows=[OrderWorkflow, ShippingWorkflow],
        data_converter=pydantic_data_converter,
    )
    await replayer.replay_workflow(load(path))


@pytest.mark.parametrize("kind", ENDS)
def test_each_history_ends_as_its_kind_should(kind: str) -> None:
    assert end_of(load(HISTORIES / f"{kind}.json")) == ENDS[kind]


def test_each_kind_and_each_child_has_one_history() -> None:
    """There is a file for every kind and for every child that one of them started, and no other."""
    wanted = set()
    for kind in ENDS:
        wanted.add(kind)
        for event in load(HISTORIES / f"{kind}.json").events:
            if event.HasField("child_workflow_execution_started_event_attributes"):
                child = event.child_workflow_execution_started_event_attributes.workflow_execution.workflow_id
                wanted.add(child.replace(f"ship-{kind}-", f"{kind}.ship-"))
    assert {path.stem for path in FILES} == wanted


def test_the_histories_write_every_type_of_event() -> None:
    assert {event for path in FILES for event in written(load(path))} == set(EventType)


def written(history: WorkflowHistory) -> Iterator[EventType]:
    """Return the events that the completed steps wrote to the database."""
    scheduled = {event.event_id: event.activity_task_scheduled_event_attributes for event in history.events}
    charged = False
    for event in history.events:
        if not event.HasField("activity_task_completed_event_attributes"):
            continue
        step = event.activity_task_completed_event_attributes
        name = scheduled[step.scheduled_event_id].activity_type.name
        charged = charged or name == "charge_payment"
        if name == "note_event":
            yield EventType(decoded(scheduled[step.scheduled_event_id].input)[1])
        elif name != "close_order":
            yield from WRITES[name]
        elif (end := decoded(step.result)[0]) in ("cancelled", "failed"):
            yield EventType(f"order_{end}")
            if charged:
                yield EventType.PAYMENT_REFUNDED


def test_the_histories_use_every_handler_and_every_end() -> None:
    """They have each signal and each Update of the two workflows, and each way to close."""
    histories = [load(path) for path in FILES]
    events = [event for history in histories for event in history.events]

    def defined(marker: str) -> set[str]:
        return {name for name in vars(OrderWorkflow) if hasattr(getattr(OrderWorkflow, name), marker)}

    signals = {event.workflow_execution_signaled_event_attributes.signal_name for event in events}
    assert defined("__temporal_signal_definition") <= signals
    updates = {
        event.workflow_execution_update_accepted_event_attributes.accepted_request.input.name for event in events
    }
    assert defined("__temporal_update_definition") <= updates
    closed = {
        (h.events[0].workflow_execution_started_event_attributes.workflow_type.name, end_of(h)) for h in histories
    }
    assert {end.partition(":")[0] for workflow, end in closed if workflow == "OrderWorkflow"} == {
        *("completed", "canceled", "failed")
    }
    assert {end for workflow, end in closed if workflow == "ShippingWorkflow"} >= {
        *("completed: True", "completed: False", "canceled")
    }


@every_file
def test_no_history_names_the_machine_that_recorded_it(path: Path) -> None:
    text = path.read_text()
    payloads = [base64.b64decode(data).decode() for data in re.findall(r'"data": "([^"]*)"', text)]
    for told in [text, *payloads]:
        # a process at a host, a path, an address
        assert not re.search(r"\d+@\w|[\"' (]/\w+/|\.py\b|\b127\.0\.0\.1|localhost|://", told), told
