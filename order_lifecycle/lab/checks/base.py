"""Checks of the exercises: right or not, and why."""

from __future__ import annotations

import re
from decimal import Decimal
from numbers import Number
from typing import Any, NamedTuple

from temporalio.service import RPCError, RPCStatusCode

from order_lifecycle.client import connect, workflow_id
from order_lifecycle.domain import EventType
from order_lifecycle.lab.views.tables import store
from order_lifecycle.lab.waiting import in_a_loop_of_its_own
from order_lifecycle.lab.world import Process

BEFORE_THE_REVIEW_ENDS = ("received", "validated", "awaiting_review")


class Check:
    def __init__(self, wrong: str | None, right: str) -> None:
        self.ok = wrong is None
        self.text = f"✓ Right. {right}" if wrong is None else f"✗ Not yet. {wrong}"

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        """The same words: JupyterLab breaks the lines of plain text in the middle of a word."""
        parts = re.split(r"(`[^`]*`)", self.text)
        plain = [re.sub(r"([\\*_<>\[\]$#|~])", r"\\\1", part) for part in parts[::2]]
        code = [*parts[1::2], ""]
        return "".join(part for pair in zip(plain, code, strict=True) for part in pair)


class Outcome(NamedTuple):
    """How a call of the learner's code ended."""

    returned: object = None
    raised: BaseException | None = None


def check_shipped(order_id: str, total: str) -> Check:
    """Is there an order of this name, shipped, that cost `total`?"""
    order, payment = row_of("orders", order_id), row_of("payments", order_id)
    wrong = None
    if order is None:
        wrong = no_order(order_id, "`await client.start_workflow(…)`, with a new `Order`.")
    elif order["state"] in BEFORE_THE_REVIEW_ENDS:
        wrong = f"{order_id} waits for its review. Hint: send it the signal `approve_order`."
    elif order["state"] == "failed":
        why = reason_of(order_id)
        wrong = (
            f"{order_id} has failed: {why}. "
            "Hint: a new order needs an id and a payment id of its own."
        )
    elif order["state"] != "shipped":
        wrong = (
            f"{order_id} is {order['state']}. Hint: wait for its end with `await handle.result()`."
        )
    elif payment and payment["amount"] != Decimal(total):
        wrong = (
            f"{order_id} cost {payment['amount']}, not {total}. "
            "Hint: amount = Σ quantity × price; look at the items."
        )
    return Check(wrong, f"{order_id} is shipped, and {total} was charged once.")


def check_cancelled(order_id: str, why: str) -> Check:
    """Was the order cancelled after it had been charged, for this reason, and the money given
    back?"""
    order, payment = row_of("orders", order_id), row_of("payments", order_id)
    wrong = None
    if order is None:
        wrong = no_order(order_id, "start it, approve it, and wait until it is charged.")
    elif order["state"] in ("dispatched", "shipped"):
        wrong = (
            f"{order_id} is {order['state']}, and that is too late. "
            "Hint: `shipping_worker.stop()` first, then a new order."
        )
    elif order["state"] in BEFORE_THE_REVIEW_ENDS:
        wrong = (
            f"{order_id} waits for its review, and is not charged yet. "
            "Hint: before you cancel it, send it the signal `approve_order`, "
            "and `lab.wait_for_state(handle, 'charged')`."
        )
    elif order["state"] != "cancelled":
        wrong = (
            f"{order_id} is {order['state']}. "
            "Hint: send it the signal `cancel_order`, and wait for its result."
        )
    elif payment is None:
        wrong = (
            f"{order_id} was cancelled before it was charged. "
            "Hint: approve it, and `lab.wait_for_state(handle, 'charged')` first."
        )
    elif (said := reason_of(order_id)) != why:
        wrong = (
            f"The reason on record is {said!r}, not {why!r}. "
            "Hint: the signal `cancel_order` takes it as its argument (`handle.cancel()` has none)."
        )
    return Check(
        wrong, f"{order_id} is cancelled, the reason is on record, and the charge is refunded."
    )


def check_refunds(answer: Any) -> Check:
    """Is this what was given back, in all orders together?"""
    payments = store().rows("payments")
    refunded = sum((row["amount"] for row in payments if row["status"] == "refunded"), Decimal(0))
    wrong = None
    if answer is ...:
        wrong = (
            "There is no answer yet. "
            "Hint: `lab.table('payments')` has the columns `status` and `amount`."
        )
    elif not isinstance(answer, Number):
        wrong = (
            f"That is no number, but {type(answer).__name__}. Hint: `.sum()` makes one of a column."
        )
    elif answer != refunded and answer == sum(row["amount"] for row in payments):
        wrong = (
            f"{answer} is all that was charged. "
            "Hint: take only the rows whose `status` is `refunded`."
        )
    elif answer != refunded:
        wrong = (
            f"{answer} is not it. "
            "Hint: the sum of `amount` over the rows whose `status` is `refunded`."
        )
    return Check(wrong, f"{refunded} was given back.")


def check_running(*workers: Process) -> Check:
    """Do all these workers run?"""
    ended = [worker for worker in workers if not worker.alive]
    wrong = None
    if ended:
        name = ended[0].name.replace(" ", "_")
        have = "has" if len(ended) == 1 else "have"
        wrong = f"The {' and the '.join(worker.name for worker in ended)} {have} ended. "
        if not ended[0].newest:
            wrong += (
                f"You have started another since, but `{name}` is still the one that has ended. "
            )
        wrong += f"Hint: `{name} = lab.start_worker(…)`."
    return Check(wrong, "Both workers run.")


def no_order(order_id: str, hint: str) -> str:
    """What is wrong where the table has no such order."""
    if in_a_loop_of_its_own(_was_started(order_id)):
        return (
            f"{order_id} was started, and is not received yet. "
            "Hint: check it again in a moment; if that is no use, does an order worker run?"
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
    """The order's row in this table, the last if there are several, or None."""
    rows = store().rows(name, order_id)
    return rows[-1] if rows else None


def reason_of(order_id: str) -> str | None:
    """Why the order was cancelled or failed. (Its last event need not say so: a signal can come
    later.)"""
    ends = [
        row["payload_json"]["reason"]
        for row in store().rows("events", order_id)
        if row["type"] in (EventType.ORDER_CANCELLED, EventType.ORDER_FAILED)
    ]
    return ends[-1] if ends else None
