"""Check the exercises of notebook 01: an order that ships, and one that is refused."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from order_lifecycle.lab.checks.base import (
    BEFORE_APPROVAL,
    Check,
    no_order_message,
    reason_of,
    row_of,
)


def check_shipped(order_id: str, total: str) -> Check:
    """Check that this order was shipped and cost `total`."""
    order, payment = row_of("orders", order_id), row_of("payments", order_id)
    wrong = None
    if order is None:
        wrong = no_order_message(order_id, "`await client.start_workflow(…)`, with a new `Order`.")
    elif order["state"] in BEFORE_APPROVAL:
        wrong = f"{order_id} waits for its review. Hint: send it the signal `approve_order`."
    elif order["state"] == "failed":
        why = reason_of(order_id)
        wrong = (
            f"{order_id} has failed: {why}. "
            "Hint: a new order needs an id and a payment id that no other order has."
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


GOOD: dict[str, Any] = {
    "id": "web-1",
    "payment_id": "pay-web-1",
    "items": [
        {"name": "apple", "qty": 1, "price": "5.00"},
        {"name": "pear", "qty": 2, "price": "0.40"},
    ],
    "address": {"address": "575 Lake Dr.", "city": "Columbus", "state": "OH", "zipcode": "43210"},
}
BAD: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "with 0 pears",
        {**GOOD, "items": [GOOD["items"][0], {"name": "pear", "qty": 0, "price": "0.40"}]},
        ["items.1.qty"],
    ),
    (
        "with 0 apples at 5.001 each",
        {**GOOD, "items": [{"name": "apple", "qty": 0, "price": "5.001"}]},
        ["items.0.qty", "items.0.price"],
    ),
    ("with the unknown field `colour`", {**GOOD, "colour": "red"}, ["colour"]),
]


def check_refused_fields(refused_fields: Callable[[dict[str, Any]], object]) -> Check:
    """Check that `refused_fields(data)` returns the fields that make `data` invalid as an Order.

    For a valid order it has to return an empty list.
    """
    wrong = _misses_a_good_order(refused_fields)
    for what, data, fields in BAD:
        wrong = wrong or _misses_a_bad_order(refused_fields, what, data, fields)
    return Check(wrong, "It names each field that is wrong, and no other.")


def _misses_a_good_order(refused_fields: Callable[[dict[str, Any]], object]) -> str | None:
    said = _call(refused_fields, GOOD)
    if said == []:
        return None
    return (
        f"For a valid order it should return [], but it {_describe(said)}. "
        "Hint: `return []` if nothing is raised."
    )


def _misses_a_bad_order(
    refused_fields: Callable[[dict[str, Any]], object],
    what: str,
    data: dict[str, Any],
    fields: list[str],
) -> str | None:
    said = _call(refused_fields, data)
    if said == fields or (isinstance(said, list) and sorted(map(str, said)) == sorted(fields)):
        return None
    wrong = f"For an order {what} it should return {fields}, but it {_describe(said)}."
    if said == [] or isinstance(said, ValidationError):
        return (
            f"{wrong} Hint: `Order.model_validate(data)` in a `try`, "
            "and `except ValidationError as error`."
        )
    if isinstance(said, TypeError) and "expected str instance" in str(said):
        return (
            f"{wrong} Hint: `join` takes only strings, so use `str(part)` for each part of `loc`."
        )
    if isinstance(said, list) and all(isinstance(name, tuple) for name in said):
        return f"{wrong} Hint: join the parts of each `loc` with dots."
    if isinstance(said, list) and said == [name.rpartition(".")[2] for name in fields]:
        return f"{wrong} Which item is that? Hint: join all the parts of `loc` with dots."
    if isinstance(said, list) and len(said) < len(fields) and all(name in fields for name in said):
        return f"{wrong} Hint: `error.errors()` has all the faults, not only the first."
    return f"{wrong} Hint: each of `error.errors()` has a `loc`, such as ('items', 0, 'qty')."


def _call(refused_fields: Callable[[dict[str, Any]], object], data: dict[str, Any]) -> object:
    """Return what the function returns or raises."""
    try:
        return refused_fields(data)
    except Exception as error:
        return error


def _describe(said: object) -> str:
    if not isinstance(said, Exception):
        return f"returns {said!r}"
    # A ValidationError has a line for each fault.
    return f"raises {type(said).__name__}: {str(said).partition(chr(10))[0]}"
