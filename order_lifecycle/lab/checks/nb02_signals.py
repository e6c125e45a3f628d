"""Check the exercises of notebook 02: a cancel in time, and a customer who moves."""

from __future__ import annotations

from collections.abc import Sequence

from order_lifecycle.domain import Address
from order_lifecycle.lab.checks.base import (
    BEFORE_APPROVAL,
    Check,
    no_order_message,
    reason_of,
    row_of,
)
from order_lifecycle.lab.views.tables import store


def check_cancelled(order_id: str, why: str) -> Check:
    """Check that the order was cancelled for this reason after its charge, and refunded."""
    order, payment = row_of("orders", order_id), row_of("payments", order_id)
    wrong = None
    if order is None:
        wrong = no_order_message(order_id, "start it, approve it, and wait until it is charged.")
    elif order["state"] in ("dispatched", "shipped"):
        wrong = (
            f"{order_id} is {order['state']}, so it is too late to cancel it. "
            "Hint: call `shipping_worker.stop()`, then start a new order."
        )
    elif order["state"] in BEFORE_APPROVAL:
        wrong = (
            f"{order_id} waits for its review, and is not charged yet. "
            "Hint: before you cancel it, send it the signal `approve_order`, "
            "and wait with `lab.wait_for_state(handle, 'charged')`."
        )
    elif order["state"] != "cancelled":
        wrong = (
            f"{order_id} is {order['state']}. "
            "Hint: send it the signal `cancel_order`, and wait for its result."
        )
    elif payment is None:
        wrong = (
            f"{order_id} was cancelled before it was charged. "
            "Hint: first approve it, and wait with `lab.wait_for_state(handle, 'charged')`."
        )
    elif (said := reason_of(order_id)) != why:
        wrong = (
            f"The reason on record is {said!r}, not {why!r}. "
            "Hint: the signal `cancel_order` takes the reason as its argument; "
            "`handle.cancel()` takes none."
        )
    return Check(
        wrong, f"{order_id} is cancelled, the reason is recorded, and the charge is refunded."
    )


def check_moved(order_id: str, to: Sequence[Address]) -> Check:
    """Check that the order's address was changed to each of these, one after the other."""
    changes = [row for row in store().rows("events", order_id) if row["type"] == "address_changed"]
    moved = [Address.model_validate(row["payload_json"]) for row in changes]
    wrong = None
    if row_of("orders", order_id) is None:
        wrong = no_order_message(order_id, f'`await start("{order_id}")`.')
    elif not moved:
        wrong = (
            f"The address of {order_id} has not changed. "
            "Hint: a signal gets no answer, so wait with `lab.wait_until` until its event is "
            "there. If no event comes, was the argument one `Address`?"
        )
    elif len(moved) > 1 and moved == list(reversed(to)):
        wrong = (
            f"{order_id} goes to {moved[-1].address}, because that address arrived last. "
            "Hint: `await` the first signal before you send the second."
        )
    elif moved == list(to[: len(moved)]) and len(moved) < len(to):
        wrong = (
            f"{order_id} has moved {len(moved)} time{'s' if len(moved) > 1 else ''}, "
            f"not {len(to)}. "
            "Hint: send the next address, too, and wait until there is an event for each."
        )
    elif moved != list(to):
        wrong = (
            f"{order_id} has moved to "
            f"{', then to '.join(address.address for address in moved).rstrip('.')}. "
            "Hint: it should be "
            f"{', then '.join(address.address for address in to)}, and nothing else."
        )
    return Check(
        wrong,
        f"{order_id} goes to {to[-1].address}: "
        "signals are handled in the order in which they arrive.",
    )
