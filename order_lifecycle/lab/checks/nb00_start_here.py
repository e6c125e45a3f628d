"""Checks of the exercises of the first notebooks: who does what, an order that is refused, a
customer who moves, pauses in a story."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from order_lifecycle.domain import Address
from order_lifecycle.lab.checks.base import Check, no_order, row_of
from order_lifecycle.lab.views.tables import store

# --- 00: who does what ---------------------------------------------------------------------------

PARTS = ("workflow", "activity", "server", "worker", "client", "PostgreSQL")
# Each duty, whose it is, and a hint.
DUTIES = {
    "say that the charge comes after the approval": (
        "workflow",
        "the order of the steps is the order's life.",
    ),
    "call the carrier": ("activity", "whatever touches the world outside is an activity."),
    "keep the record of which steps are done": (
        "server",
        "it is what an order goes on from after a crash.",
    ),
    "run your code": (
        "worker",
        "who takes tasks from a queue? The server hands them out, and never runs your code.",
    ),
    "send the approval": ("client", "it is a message to the workflow, from outside: a signal."),
    "know next year what an order cost": (
        "PostgreSQL",
        "the tables are the business's own, and are there to stay.",
    ),
}


def check_parts(whose: Any) -> Check:
    """Does `whose` name the part that has each duty?"""
    if not isinstance(whose, dict):
        wrong = f"That is no dict, but {type(whose).__name__}."
        return Check(f"{wrong} Hint: leave the braces and the duties as they are.", "")
    for duty, (part, hint) in DUTIES.items():
        said = whose.get(duty, ...)
        if said is ...:
            return Check(f"Nobody is there yet to {duty}. Hint: one of {', '.join(PARTS)}.", "")
        if said not in PARTS:
            return Check(f"To {duty}: {said!r} is no part. Hint: one of {', '.join(PARTS)}.", "")
        if said != part:
            return Check(f"To {duty} is not for the {said}. Hint: {hint}", "")
    return Check(None, "Each of the six has one duty, and none does another's.")


# --- 01: what an order must be -------------------------------------------------------------------

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
    """Does `refused_fields(data)` name the fields for which `data` can be no Order, and none if it
    can be one?"""
    wrong = _misses_a_good_order(refused_fields)
    for what, data, fields in BAD:
        wrong = wrong or _misses_a_bad_order(refused_fields, what, data, fields)
    return Check(wrong, "It names each field that is wrong, and no other.")


def _misses_a_good_order(refused_fields: Callable[[dict[str, Any]], object]) -> str | None:
    said = _call(refused_fields, GOOD)
    if said == []:
        return None
    return (
        f"An order without a fault should give [], and {_gives(said)}. "
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
    wrong = f"An order {what} should give {fields}, and {_gives(said)}."
    if said == [] or isinstance(said, ValidationError):
        return (
            f"{wrong} Hint: `Order.model_validate(data)` in a `try`, "
            "and `except ValidationError as error`."
        )
    if isinstance(said, TypeError) and "expected str instance" in str(said):
        return f"{wrong} Hint: `join` takes texts only, so `str(part)` for each part of `loc`."
    if isinstance(said, list) and all(isinstance(name, tuple) for name in said):
        return f"{wrong} Hint: join the parts of each `loc` with dots."
    if isinstance(said, list) and said == [name.rpartition(".")[2] for name in fields]:
        return f"{wrong} Which item is that? Hint: join all the parts of `loc` with dots."
    if isinstance(said, list) and len(said) < len(fields) and all(name in fields for name in said):
        return f"{wrong} Hint: `error.errors()` has them all, not only the first."
    return f"{wrong} Hint: each of `error.errors()` has a `loc`, such as ('items', 0, 'qty')."


def _call(refused_fields: Callable[[dict[str, Any]], object], data: dict[str, Any]) -> object:
    """What it returns or raises."""
    try:
        return refused_fields(data)
    except Exception as error:
        return error


def _gives(said: object) -> str:
    if not isinstance(said, Exception):
        return f"gives {said!r}"
    # Pydantic's have a line for each fault.
    return f"raises {type(said).__name__}: {str(said).partition(chr(10))[0]}"


# --- 02: a customer who moves twice --------------------------------------------------------------


def check_moved(order_id: str, to: Sequence[Address]) -> Check:
    """Was the order's address changed to all of these, one after the other?"""
    changes = [row for row in store().rows("events", order_id) if row["type"] == "address_changed"]
    moved = [Address.model_validate(row["payload_json"]) for row in changes]
    wrong = None
    if row_of("orders", order_id) is None:
        wrong = no_order(order_id, f'`await start("{order_id}")`.')
    elif not moved:
        wrong = (
            f"The address of {order_id} has not changed. "
            "Hint: `await handle.signal(…)` carries no answer, so wait with `lab.wait_until` until "
            "its event is there; if none comes, was the argument one `Address`?"
        )
    elif len(moved) > 1 and moved == list(reversed(to)):
        wrong = (
            f"{order_id} goes to {moved[-1].address}: that address arrived last. "
            "Hint: `await` the first signal before you send the second."
        )
    elif moved == list(to[: len(moved)]) and len(moved) < len(to):
        wrong = (
            f"{order_id} has moved {len(moved)} time{'s' if len(moved) > 1 else ''}, "
            f"not {len(to)}. "
            "Hint: send the next address too, and wait until all the events are there."
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


# --- 03: how long orders wait --------------------------------------------------------------------


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
