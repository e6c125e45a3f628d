"""Share what the checks of the exercises need."""

from __future__ import annotations

from typing import Any, NamedTuple

from temporalio.service import RPCError, RPCStatusCode

from order_lifecycle.client import connect, workflow_id
from order_lifecycle.domain import EventType
from order_lifecycle.lab.markup import sentence
from order_lifecycle.lab.views.tables import store
from order_lifecycle.lab.waiting import run_in_own_loop
from order_lifecycle.visible import visible_lines

BEFORE_APPROVAL = ("received", "validated", "awaiting_review")


class Check:
    """The result of a check: whether the answer is right, and one or two sentences about it."""

    def __init__(self, wrong: str | None, right: str) -> None:
        """Make a result.

        Args:
            wrong: What is wrong with the answer, with a hint. None if the answer is right.
            right: What to say if the answer is right.
        """
        self.ok = wrong is None
        self.text = f"✓ Right. {right}" if wrong is None else f"✗ Not yet. {wrong}"

    def __repr__(self) -> str:
        return visible_lines(self.text)

    def _repr_html_(self) -> str:
        """Return the text as HTML, because JupyterLab breaks plain text in the middle of a word."""
        return sentence(self.text)


class Outcome(NamedTuple):
    """How a call of the learner's code ended."""

    returned: object = None
    raised: BaseException | None = None


def no_order_message(order_id: str, hint: str) -> str:
    """Say why the table has no such order.

    Args:
        order_id: The order.
        hint: How to start it, if it was never started.
    """
    if run_in_own_loop(_was_started(order_id)):
        return (
            f"{order_id} was started, but no worker has received it yet. "
            "Hint: does an order worker run? If one does, check again in a moment."
        )
    return f"There is no order {order_id}. Hint: {hint}"


async def _was_started(order_id: str) -> bool:
    try:
        await (await connect()).get_workflow_handle(workflow_id(order_id)).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


def row_of(name: str, order_id: str) -> dict[str, Any] | None:
    """Return the order's row in this table, or its last row, or None."""
    rows = store().rows(name, order_id)
    return rows[-1] if rows else None


def reason_of(order_id: str) -> str | None:
    """Return why the order was cancelled or failed, or None."""
    # Not the last event of the order: a late signal can add one.
    ends = [
        row["payload_json"]["reason"]
        for row in store().rows("events", order_id)
        if row["type"] in (EventType.ORDER_CANCELLED, EventType.ORDER_FAILED)
    ]
    return ends[-1] if ends else None
