"""Check the exercises of notebook 03: refunds, and pauses between events."""

from __future__ import annotations

from decimal import Decimal
from numbers import Number
from typing import Any

from order_lifecycle.lab.checks.base import (
    Check,
)
from order_lifecycle.lab.views.tables import store


def check_refunds(answer: Any) -> Check:
    """Check that the answer is the sum of all refunds."""
    payments = store().rows("payments")
    refunded = sum((row["amount"] for row in payments if row["status"] == "refunded"), Decimal(0))
    wrong = None
    if answer is ...:
        wrong = (
            "There is no answer yet. "
            "Hint: `lab.table('payments')` has the columns `status` and `amount`."
        )
    elif not isinstance(answer, Number):
        wrong = f"Expected a number, got {type(answer).__name__}. Hint: use `.sum()` on the column."
    elif answer != refunded and answer == sum(row["amount"] for row in payments):
        wrong = (
            f"{answer} is the sum of all charges. "
            "Hint: take only the rows whose `status` is `refunded`."
        )
    elif answer != refunded:
        wrong = (
            f"{answer} is not the sum of the refunds. "
            "Hint: add up `amount` over the rows whose `status` is `refunded`."
        )
    return Check(wrong, f"{refunded} was refunded.")


def check_pauses(answer: Any) -> Check:
    """Check that the answer is a Series with the longest pause of each order, in seconds.

    A pause is the time between two events of the order.
    """
    import pandas as pd  # imported here because it takes half a second

    rows = store().rows("events")
    if not rows:
        return Check("There are no events yet. Hint: run the cells above first.", "")
    events = pd.DataFrame(rows)
    by_order = events["order_id"]
    longest = events.groupby("order_id")["ts"].diff().groupby(by_order).max().dt.total_seconds()
    mixed = events["ts"].diff().groupby(by_order).max().dt.total_seconds()

    wrong = None
    if answer is ...:
        wrong = (
            "There is no answer yet. "
            "Hint: `lab.table('events', raw=True)` has the times, in the column `ts`."
        )
    elif not (
        isinstance(answer, pd.Series) and sorted(map(str, answer.index)) == sorted(longest.index)
    ):
        wrong = (
            "It should be a Series with one value for each order. "
            "Hint: put the differences into a new column, "
            "call `.groupby('order_id')` again, and take `.max()` of that column."
        )
    elif not pd.api.types.is_numeric_dtype(answer):
        wrong = f"Its values are {answer.dtype}, not seconds. Hint: `.dt.total_seconds()`."
    elif _same(answer, longest):
        pass
    elif _same(answer, mixed):
        wrong = (
            "The first pause of an order begins at the last event of another order. "
            "Hint: `events.groupby('order_id')['ts'].diff()`."
        )
    else:
        wrong = (
            "These are not the longest pauses. "
            "Hint: take the largest difference between one `ts` and the next in each order."
        )
    return Check(wrong, f"It has the longest pause of each of the {len(longest)} orders.")


def _same(answer: Any, right: Any) -> bool:
    """Return True if both have the same seconds, to the millisecond."""
    # An order with a single event has no pause, and so NaN.
    return bool(((answer.reindex(right.index).fillna(0) - right.fillna(0)).abs() < 0.001).all())
