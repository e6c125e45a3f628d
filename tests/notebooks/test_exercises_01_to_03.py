"""The checks of notebooks 00 to 03, and one of 05, name the right answer and each mistake, in a real lab."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError
from sqlalchemy import text
from temporalio.client import WorkflowHandle

from order_lifecycle import lab
from order_lifecycle.client import connect, start_order
from order_lifecycle.domain import Address, EventType, Item, Order, OrderResult, Policy
from order_lifecycle.lab.checks.nb00_start_here import DUTIES, PARTS
from order_lifecycle.lab.process import LabProcess
from order_lifecycle.lab.servers import LabServers
from order_lifecycle.lab.views.tables import owner_engine as lab_owner
from order_lifecycle.lab.views.tables import store as lab_store
from order_lifecycle.workflows.order import OrderWorkflow

LAKE, HILL = (Address(address=street, city="Columbus", state="OH", zipcode="43210") for street in ("1 Lake", "2 Hill"))


@pytest.fixture(scope="module")
def worker(lab_servers: LabServers) -> Iterator[LabProcess]:
    """Start an order worker."""
    worker = lab.start_worker("order")
    yield worker
    worker.stop()


async def start(order_id: str) -> WorkflowHandle[OrderWorkflow, OrderResult]:
    """Start an order, and return it once it waits for its review."""
    order = Order(
        id=order_id,
        payment_id=f"pay-{order_id}",
        items=[Item(name="apple", qty=3, price="2.50")],  # type: ignore[arg-type]
        address=Address(address="575 Lake Dr.", city="Columbus", state="OH", zipcode="43210"),
    )
    handle = await start_order(await connect(), order, Policy())
    await lab.wait_for_state(handle, "awaiting_review")
    return handle


def says(check: object) -> str:
    return str(check)


# --- 00 --------------------------------------------------------------------------------------------------------------


def test_a_restarted_worker_without_its_variable_is_named(worker: LabProcess) -> None:
    shipping_worker = lab.start_worker("shipping")
    shipping_worker.stop()
    ended = "✗ Not yet. The shipping worker has ended. "
    assert says(lab.check_running(worker, shipping_worker)).startswith(f"{ended}Hint: `shipping_worker = lab.start_")
    nameless = lab.start_worker("shipping")
    assert says(lab.check_running(worker, shipping_worker)).startswith(f"{ended}You have started another since, but")
    assert says(lab.check_running(worker, nameless)) == "✓ Right. Both workers run."
    nameless.stop()


def test_the_check_of_the_parts_names_each_wrong_duty() -> None:
    right = {duty: part for duty, (part, _) in DUTIES.items()}
    assert sorted(right.values()) == sorted(PARTS)
    assert says(lab.check_parts(right)).startswith("✓ Right.")
    for duty, part in right.items():
        for other in {*PARTS, "Temporal", ""} - {part}:
            wrong = says(lab.check_parts({**right, duty: other}))
            assert f" {duty}" in wrong
            assert wrong.startswith("✗ Not yet. ")
            assert " Hint: " in wrong
        assert says(lab.check_parts({**right, duty: ...})).startswith("✗ Not yet. No part is chosen yet to " + duty)


def test_an_answer_about_the_parts_must_be_a_dict() -> None:
    said = says(lab.check_parts(["workflow"]))
    assert said.startswith("✗ Not yet. Expected a dict, got list. Hint: ")


# --- 01 --------------------------------------------------------------------------------------------------------------


async def test_an_order_without_approval_is_named(worker: LabProcess) -> None:
    await start("fruit-1")
    waits = "✗ Not yet. fruit-1 waits for its review"
    approve = "Hint: {}send it the signal `approve_order`"
    assert says(lab.check_shipped("fruit-1", total="7.50")).startswith(f"{waits}. {approve.format('')}")
    not_charged = f"{waits}, and is not charged yet. {approve.format('before you cancel it, ')}"
    assert says(lab.check_cancelled("fruit-1", why="found it cheaper")).startswith(not_charged)


def right(data: dict[str, Any]) -> list[str]:
    try:
        Order.model_validate(data)
    except ValidationError as error:
        return [".".join(map(str, each["loc"])) for each in error.errors()]
    return []


def unsolved(data: dict[str, Any]) -> None:
    pass


def nothing_at_all(data: dict[str, Any]) -> list[str]:
    return []


def not_caught(data: dict[str, Any]) -> list[str]:
    Order.model_validate(data)
    return []


def last_part_only(data: dict[str, Any]) -> list[str]:
    return [name.rpartition(".")[2] for name in right(data)]


def first_fault_only(data: dict[str, Any]) -> list[str]:
    return right(data)[:1]


def joins_what_is_no_text(data: dict[str, Any]) -> list[str]:
    try:
        Order.model_validate(data)
    except ValidationError as error:
        return [".".join(each["loc"]) for each in error.errors()]  # type: ignore[arg-type]
    return []


def as_they_are(data: dict[str, Any]) -> list[Any]:
    """Return dicts, which cannot be put in a set. Nor can the lists of the next function."""
    return [{"loc": name.split(".")} for name in right(data)]


def as_lists(data: dict[str, Any]) -> list[Any]:
    return [name.split(".") for name in right(data)]


def as_tuples(data: dict[str, Any]) -> list[Any]:
    return [tuple(name.split(".")) for name in right(data)]


@pytest.mark.parametrize(
    ("solution", "expected"),
    [
        (right, "✓ Right"),
        (lambda data: right(data)[::-1], "✓ Right"),
        (unsolved, "✗ Not yet. For a valid order it should return [], but it returns None"),
        (
            nothing_at_all,
            "✗ Not yet. For an order with 0 pears it should return ['items.1.qty'], but it returns []. Hint: `Ord",
        ),
        (
            not_caught,
            "✗ Not yet. For an order with 0 pears it should return ['items.1.qty'], "
            "but it raises ValidationError: 1 validation error for Order. Hint: `Order.mod",
        ),
        (
            joins_what_is_no_text,
            "✗ Not yet. For an order with 0 pears it should return ['items.1.qty'], "
            "but it raises TypeError: sequence item 1: expected str instance, int found. Hint: `join` takes only",
        ),
        (
            last_part_only,
            "✗ Not yet. For an order with 0 pears it should return ['items.1.qty'], but it returns ['qty']. Which item",
        ),
        (
            first_fault_only,
            "✗ Not yet. For an order with 0 apples at 5.001 each it should return ['items.0.qty', 'items.0.price']",
        ),
        (
            as_they_are,
            "✗ Not yet. For an order with 0 pears it should return ['items.1.qty'], "
            "but it returns [{'loc': ['items', '1', 'qty']}]. Hint: each of",
        ),
        (
            as_lists,
            "✗ Not yet. For an order with 0 pears it should return ['items.1.qty'], "
            "but it returns [['items', '1', 'qty']]. Hint: each of",
        ),
        (
            as_tuples,
            "✗ Not yet. For an order with 0 pears it should return ['items.1.qty'], "
            "but it returns [('items', '1', 'qty')]. Hint: join",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_check_of_the_refused_fields_names_each_mistake(
    solution: Callable[[dict[str, Any]], Any], expected: str
) -> None:
    assert says(lab.check_refused_fields(solution)).startswith(expected)


# --- 02 --------------------------------------------------------------------------------------------------------------


async def test_an_order_cancelled_before_its_charge_is_named(worker: LabProcess) -> None:
    handle = await start("mine")
    await handle.signal(OrderWorkflow.cancel_order, "found it cheaper")
    await handle.result()
    check = lab.check_cancelled("mine", why="found it cheaper")
    assert says(check).startswith("✗ Not yet. mine was cancelled before it was charged")


async def test_waiting_for_the_charge_of_an_unapproved_order_says_why(worker: LabProcess) -> None:
    handle = await start("unapproved")
    what = r"order-unapproved to be charged \(it is awaiting_review, and waits for approve_order\)"
    with pytest.raises(lab.LabError, match=what + ": approve it first"):
        await lab.wait_for_state(handle, "charged", timeout=0.5)


@pytest.mark.parametrize(
    ("order_id", "addresses", "expected"),
    [
        ("both", [LAKE, HILL], "✓ Right. both goes to 2 Hill"),
        ("one", [LAKE], "✗ Not yet. one has moved 1 time, not 2. Hint: send the next address, too"),
        ("other-way", [HILL, LAKE], "✗ Not yet. other-way goes to 1 Lake, because that address arrived last"),
        ("back", [LAKE, HILL, LAKE], "✗ Not yet. back has moved to 1 Lake, then to 2 Hill, then to 1 Lake"),
        ("second", [HILL], "✗ Not yet. second has moved to 2 Hill. Hint: it should be 1 Lake, then 2 Hill"),
    ],
)
async def test_the_check_of_the_moved_customer_names_each_mistake(
    worker: LabProcess, order_id: str, addresses: list[Address], expected: str
) -> None:
    handle = await start(order_id)
    for address in addresses:
        await handle.signal(OrderWorkflow.update_address, address)

    def all_are_there() -> bool:
        return list(lab.table("events", order_id)["type"]).count("address_changed") == len(addresses)

    await lab.wait_until(all_are_there, "all the changes")
    assert says(lab.check_moved(order_id, to=[LAKE, HILL])).startswith(expected)


async def test_a_customer_who_has_not_moved_yet_is_named(worker: LabProcess) -> None:
    assert says(lab.check_moved("nobody", to=[LAKE, HILL])).startswith("✗ Not yet. There is no order nobody")
    await start("stays")
    assert says(lab.check_moved("stays", to=[LAKE, HILL])).startswith("✗ Not yet. The address of stays has not changed")


# --- 03 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def events(worker: LabProcess) -> pd.DataFrame:
    """Return events of real orders at invented times, where each pause is shorter than the one before.

    So the time between two orders is longer than any pause in the second.
    """
    for order_id in {"first", "second", "third"} - set(lab.table("orders")["id"]):
        await start(order_id)
    with lab_owner().begin() as tx:
        tx.execute(text("ALTER TABLE events DISABLE TRIGGER USER"))
        tx.execute(text("UPDATE events SET ts = timestamptz '2026-01-01' - interval '1 s' * (1000 - id) ^ 2"))
    return lab.table("events", raw=True)


def of_each_order(events: pd.DataFrame) -> Any:
    return events.assign(pause=events.groupby("order_id")["ts"].diff()).groupby("order_id")["pause"]


def across_orders(events: pd.DataFrame) -> Any:
    return events.assign(pause=events["ts"].diff()).groupby("order_id")["pause"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda events: of_each_order(events).max().dt.total_seconds(), "✓ Right. "),
        (lambda events: of_each_order(events).max().dt.total_seconds()[::-1], "✓ Right. "),
        (lambda events: ..., "✗ Not yet. There is no answer yet"),
        (lambda events: 2.0, "✗ Not yet. It should be a Series"),
        (lambda events: events.groupby("order_id")["ts"].diff().dt.total_seconds(), "✗ Not yet. It should be a Series"),
        (lambda events: of_each_order(events).max(), "✗ Not yet. Its values are timedelta64"),
        (
            lambda events: across_orders(events).max().dt.total_seconds(),
            "✗ Not yet. The first pause of an order begins",
        ),
        (lambda events: of_each_order(events).min().dt.total_seconds(), "✗ Not yet. These are not the longest pauses"),
    ],
)
def test_the_check_of_the_longest_pauses_names_each_mistake(
    events: pd.DataFrame, answer: Callable[[pd.DataFrame], Any], expected: str
) -> None:
    assert says(lab.check_pauses(answer(events))).startswith(expected)


async def test_the_sum_of_all_charges_is_not_the_sum_of_the_refunds(worker: LabProcess) -> None:
    for order_id in ("keeps", "returns"):
        handle = await start(order_id)
        await handle.signal(OrderWorkflow.approve_order)
        await lab.wait_for_state(handle, "charged")
    await handle.signal(OrderWorkflow.cancel_order, "changed my mind")
    await handle.result()
    payments = lab.table("payments")
    assert says(lab.check_refunds(payments["amount"].sum())).startswith("✗ Not yet. 15.00 is the sum of all charges")
    refunded = payments.loc[payments["status"] == "refunded", "amount"].sum()
    assert says(lab.check_refunds(refunded)) == "✓ Right. 7.50 was refunded."


# --- 02 once more, last: this charges too, and the sum above counts every charge -----------------------------------


async def test_a_cancel_of_a_shipped_order_is_named_as_too_late(worker: LabProcess) -> None:
    shipping_worker = lab.start_worker("shipping")
    handle = await start("gone")
    await handle.signal(OrderWorkflow.approve_order)
    await handle.result()
    shipping_worker.stop()
    said = says(lab.check_cancelled("gone", why="found it cheaper"))
    assert said.startswith("✗ Not yet. gone is shipped, so it is too late to cancel it. Hint: ")


# --- 05 --------------------------------------------------------------------------------------------------------------


async def test_an_order_that_has_not_failed_is_named(worker: LabProcess) -> None:
    assert says(lab.check_failed_unpaid("none")).startswith("✗ Not yet. There is no order none. Hint: ")
    await start("fine")
    assert says(lab.check_failed_unpaid("fine")).startswith(
        "✗ Not yet. fine is awaiting_review. Hint: wait for its end"
    )


async def test_a_late_signal_does_not_change_the_recorded_reason(worker: LabProcess) -> None:
    handle = await start("late")
    await handle.signal(OrderWorkflow.approve_order)
    await lab.wait_for_state(handle, "charged")
    await handle.signal(OrderWorkflow.cancel_order, "found it cheaper")
    await handle.result()
    lab_store().note("late", EventType.LATE_SIGNAL, "run/1", {"reason": "approve_order"})
    assert says(lab.check_cancelled("late", why="found it cheaper")).startswith("✓ Right.")
