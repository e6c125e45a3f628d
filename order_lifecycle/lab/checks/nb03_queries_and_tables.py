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


def check_pauses(answer: Any) -> Check:
    """Is this a Series with the longest pause between two events of each order, in seconds?"""
    import pandas as pd  # takes half a second, which the command line need not spend

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
            "Hint: put the differences into a column of their own, "
            "`.groupby('order_id')` once more, and `.max()` of that column."
        )
    elif not pd.api.types.is_numeric_dtype(answer):
        wrong = f"Its values are {answer.dtype}, not seconds. Hint: `.dt.total_seconds()`."
    elif _same(answer, longest):
        pass
    elif _same(answer, mixed):
        wrong = (
            "The first event of an order is measured from the last event of another. "
            "Hint: `events.groupby('order_id')['ts'].diff()`."
        )
    else:
        wrong = (
            "These are other times. "
            "Hint: in each order, the largest difference between a `ts` and the next."
        )
    return Check(wrong, f"{len(longest)} orders, and the longest pause of each.")


def _same(answer: Any, right: Any) -> bool:
    """The same seconds, to the millisecond. An order with a single event has no pause."""
    return bool(((answer.reindex(right.index).fillna(0) - right.fillna(0)).abs() < 0.001).all())
