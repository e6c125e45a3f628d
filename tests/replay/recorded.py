"""Recorded histories of orders, one of every kind, which the workflows' code must still replay.

An order that runs while its worker is replaced continues from a history like these. histories/<kind>.json is the
order's, and histories/<kind>.ship-<n>.json that of its n-th try to ship. record.py writes them in the format of
`temporal workflow show --output json`, one event a line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

HISTORIES = Path(__file__).parent / "histories"

# Every kind, with its end.
WHY = "changed my mind"
ENDS = {
    "shipped": "completed: shipped",
    "shipped_after_retries": "completed: shipped",
    "shipped_despite_nonsense": "completed: shipped",
    "approved_by_update": "completed: shipped",
    "approved_at_the_start": "completed: shipped",
    "address_changed": "completed: shipped",
    "late_signals": "completed: shipped",
    "more_late_signals_than_are_recorded": "completed: shipped",
    "dispatch_failed_and_recovered": "completed: shipped",
    "carrier_quicker_than_cancel": "completed: shipped",
    "cancelled_before_received": f"completed: cancelled, {WHY}",
    "cancelled_while_validating": f"completed: cancelled, {WHY}",
    "cancelled_in_review": f"completed: cancelled, {WHY}",
    "approved_too_late": f"completed: cancelled, {WHY}",
    "cancelled_while_approving": f"completed: cancelled, {WHY}",
    "cancelled_while_charging": f"completed: cancelled, {WHY}",
    "cancelled_as_the_charge_ends": f"completed: cancelled, {WHY}",
    "cancelled_without_a_shipping_worker": f"completed: cancelled, {WHY}",
    "cancelled_while_packing": f"completed: cancelled, {WHY}",
    "cancelled_while_dispatching": f"completed: cancelled, {WHY}",
    "cancelled_between_tries": f"completed: cancelled, {WHY}",
    "cancelled_in_second_try": f"completed: cancelled, {WHY}",
    "cancelled_by_update": f"completed: cancelled, {WHY}",
    "cancelled_by_temporal": "canceled",
    "review_expired": "completed: cancelled, review expired",
    "failed_for_good": "failed: shipping failed 3 times, last: dispatch_carrier: dispatch_carrier failed",
    "refused_payment": "failed: payment pay-owner belongs to another order",
    "budget_used_up": "failed: charge_payment failed",
    "another_runs_order": "failed: order another_runs_order is already in this database (received), from another run",
}


def load(path: Path) -> WorkflowHistory:
    history = WorkflowHistory.from_json("", path.read_text())
    return WorkflowHistory(history.events[0].workflow_execution_started_event_attributes.workflow_id, history.events)


def as_text(events: list[dict[str, Any]]) -> str:
    lines = [json.dumps(event, ensure_ascii=False) for event in events]
    return '{"events": [\n' + ",\n".join(lines) + "\n]}\n"


def name_of(event: HistoryEvent) -> str:
    return EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")


def decoded(payloads: Payloads) -> list[Any]:
    """Return the payloads as plain JSON values."""
    return [json.loads(payload.data) if payload.data else None for payload in payloads.payloads]


def end_of(history: WorkflowHistory) -> str:
    """Return how the workflow closed and with which result, written as in ENDS."""
    last = history.events[-1]
    how = name_of(last).removeprefix("WORKFLOW_EXECUTION_").lower()
    if how == "completed":
        (result,) = decoded(last.workflow_execution_completed_event_attributes.result)
        if not isinstance(result, dict):
            return f"{how}: {result}"
        return f"{how}: {result['state']}" + (f", {result['reason']}" if result["reason"] else "")
    if how == "failed":
        failure = last.workflow_execution_failed_event_attributes.failure
        while failure.HasField("cause"):
            failure = failure.cause
        return f"{how}: {failure.message}"
    return how
