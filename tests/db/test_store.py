"""Each method of the store: what it does, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from order_lifecycle.db.store import Store
from order_lifecycle.domain import BEFORE_DISPATCH, MOVES, EventType, Item, OrderState, RefusedError, total
from tests.db.rig import (
    HERE,
    RUN,
    THERE,
    TOTAL,
    YONDER,
    bring,
    cancel,
    events,
    go_on,
    payments,
    state,
    tables,
    wait_until_waiting,
)
from tests.support.orders import an_order

BEFORE = sorted(BEFORE_DISPATCH)
AFTER = [OrderState.DISPATCHED, OrderState.SHIPPED]

# --- one after the other ---------------------------------------------------------------------------------------------


def test_an_order_goes_from_received_to_shipped(store: Store) -> None:
    order = bring(store, OrderState.SHIPPED)
    assert state(store, order) == "shipped"
    assert events(store, order) == [EventType.ORDER_RECEIVED, *MOVES]
    assert payments(store, order) == [("charged", TOTAL)]
    assert store.address(order.id) == HERE


def test_an_order_is_read_as_it_was_received(store: Store) -> None:
    odd = Item(name="'; DROP TABLE orders; -- Äpfel 🍏", qty=10_000, price=Decimal("0.01"))
    order = an_order().model_copy(update={"items": [odd]})
    store.receive(order, RUN)
    assert [Item.model_validate(item) for item in store.rows("orders")[0]["items"]] == [odd]


def test_events_are_read_in_the_order_in_which_they_happened(store: Store, engine: Engine) -> None:
    order = bring(store, OrderState.RECEIVED)
    with engine.begin() as slow:
        slow.execute(text("SELECT now()"))  # its transaction begins before those of the others
        store.validate(order)
        slow.execute(
            text("INSERT INTO events (order_id, type, step, payload_json) VALUES (:id, 'late_signal', :step, '{}')"),
            {"id": order.id, "step": "late_signal#1"},
        )
    assert events(store, order)[-1] == "late_signal"


@pytest.mark.parametrize("start", [None, *OrderState], ids=str)
def test_a_step_out_of_turn_is_refused(store: Store, start: OrderState | None) -> None:
    for event, (before, after) in MOVES.items():
        if event is EventType.PAYMENT_CHARGED:
            continue
        payload = {"address": HERE.model_dump()} if event is EventType.CARRIER_DISPATCHED else {}
        order = bring(store, start, f"abc-{event}")
        unchanged = tables(store)
        if start is before:
            assert store.advance(order.id, event, payload) is after
            assert events(store, order)[-1] == event
        elif event in events(store, order):
            assert store.advance(order.id, event) is after
            assert tables(store) == unchanged
        else:
            with pytest.raises(RefusedError, match=f"is {start}" if start else "not in the database"):
                store.advance(order.id, event)
            assert tables(store) == unchanged


def test_an_order_id_of_another_run_is_refused(store: Store) -> None:
    order = bring(store, OrderState.CHARGED)
    before = tables(store)
    with pytest.raises(RefusedError, match="already in this database"):
        store.receive(order, "run-2")
    with pytest.raises(RefusedError, match="already in this database"):
        store.close(order, "run-2", OrderState.CANCELLED, "not mine")
    assert tables(store) == before


# --- money -----------------------------------------------------------------------------------------------------------


def test_the_charge_is_the_sum_of_the_stored_items(store: Store) -> None:
    for number, (qty, price) in enumerate([(1, "5"), (3, "0.10"), (9_999, "10000.99"), (1, "0"), (7, "1E+2")]):
        item = Item(name="x", qty=qty, price=Decimal(price))
        order = an_order(f"abc-{number}").model_copy(
            update={"items": [item] if number % 2 == 0 else [item, *an_order().items]}
        )
        go_on(store, order, OrderState.APPROVED)
        amount = store.charge(order.id, order.payment_id)
        assert amount == total(order.items)
        assert str(amount) == f"{total(order.items):.2f}"
        assert payments(store, order) == [("charged", amount)]


def test_a_payment_id_of_another_order_is_refused(store: Store) -> None:
    bring(store, OrderState.CHARGED, "theirs")
    ours = bring(store, OrderState.APPROVED, "ours")
    before = tables(store)
    with pytest.raises(RefusedError, match="payment pay-theirs does not belong to order"):
        store.charge(ours.id, "pay-theirs")
    assert tables(store) == before  # the move to charged is taken back, too
    assert store.charge(ours.id, ours.payment_id) == TOTAL


def test_a_payment_id_of_another_order_is_refused_before_the_review(store: Store) -> None:
    theirs = bring(store, OrderState.CHARGED, "theirs")
    ours = an_order("ours").model_copy(update={"payment_id": theirs.payment_id})
    store.receive(ours, RUN)
    with pytest.raises(RefusedError, match="belongs to another order"):
        store.validate(ours)
    assert state(store, ours) == "received"
    cancel(store, theirs)
    with pytest.raises(RefusedError, match="belongs to another order"):  # refunded, it is still theirs
        store.validate(ours)


def test_an_order_is_charged_with_one_payment_id_only(store: Store) -> None:
    order = bring(store, OrderState.CHARGED)
    before = tables(store)
    with pytest.raises(RefusedError, match="does not belong to order"):
        store.charge(order.id, "a-second-one")
    assert tables(store) == before


@pytest.mark.parametrize(
    "start", [None, OrderState.RECEIVED, OrderState.AWAITING_REVIEW, OrderState.CANCELLED], ids=str
)
def test_an_order_without_approval_is_not_charged(store: Store, start: OrderState | None) -> None:
    order = bring(store, start)
    with pytest.raises(RefusedError, match=f"is {start}" if start else "not in the database"):
        store.charge(order.id, order.payment_id)
    assert payments(store, order) == []


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [OrderState.CANCELLED, OrderState.FAILED])
@pytest.mark.parametrize("before", BEFORE)
def test_closing_an_order_before_dispatch_refunds_it(store: Store, before: OrderState, end: OrderState) -> None:
    order = bring(store, before)
    charged = payments(store, order)
    assert store.close(order, RUN, end, "why not") is end
    assert state(store, order) == end
    assert payments(store, order) == [("refunded", amount) for _, amount in charged]
    assert events(store, order)[-1] == f"order_{end}"
    assert ("payment_refunded" in events(store, order)) is bool(charged)
    assert store.rows("events")[-1]["payload_json"] == {"reason": "why not"}


@pytest.mark.parametrize("before", AFTER)
def test_a_dispatched_order_cannot_be_closed(store: Store, before: OrderState) -> None:
    order = bring(store, before)
    unchanged = tables(store)
    assert cancel(store, order) is before
    assert tables(store) == unchanged


def test_a_second_close_does_not_change_how_an_order_ended(store: Store) -> None:
    order = bring(store, OrderState.CHARGED)
    cancel(store, order)
    unchanged = tables(store)
    assert store.close(order, RUN, OrderState.FAILED, "too late") is OrderState.CANCELLED
    assert tables(store) == unchanged


def test_closing_an_unknown_order_also_records_that_it_was_received(store: Store) -> None:
    order = an_order()
    assert cancel(store, order) is OrderState.CANCELLED
    assert events(store, order) == ["order_received", "order_cancelled"]
    assert store.receive(order, RUN) is OrderState.RECEIVED  # an attempt that hung until now
    assert events(store, order) == ["order_received", "order_cancelled"]


# --- where to --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", BEFORE)
def test_the_address_can_change_before_dispatch(store: Store, before: OrderState) -> None:
    order = bring(store, before)
    assert store.change_address(order.id, "run/1", THERE) is before
    assert store.address(order.id) == THERE
    assert store.rows("events")[-1]["payload_json"] == THERE.model_dump()


@pytest.mark.parametrize("before", [*AFTER, OrderState.CANCELLED, None], ids=str)
def test_the_address_cannot_change_after_dispatch_or_the_end(store: Store, before: OrderState | None) -> None:
    order = bring(store, before)
    unchanged = tables(store)
    with pytest.raises(RefusedError, match=f"too late .* is {before}" if before else "not in the database"):
        store.change_address(order.id, "run/1", THERE)
    assert tables(store) == unchanged


def test_a_late_repeat_of_an_address_change_does_not_undo_a_newer_one(store: Store) -> None:
    order = bring(store, OrderState.PACKED)
    store.change_address(order.id, "run/1", THERE)
    store.change_address(order.id, "run/2", YONDER)
    store.change_address(order.id, "run/1", THERE)
    assert store.address(order.id) == YONDER
    assert store.dispatch(order.id, YONDER)


def test_a_parcel_goes_to_the_last_address_or_not_at_all(store: Store) -> None:
    order = bring(store, OrderState.PACKED)
    store.change_address(order.id, "run/1", THERE)
    assert store.dispatch(order.id, HERE) is False
    assert state(store, order) == "packed"
    assert store.dispatch(order.id, THERE) is True
    assert store.rows("events")[-1]["payload_json"] == {"address": THERE.model_dump()}
    assert store.dispatch(order.id, HERE) is False  # that is not where it went


@pytest.mark.parametrize("start", [None, OrderState.CHARGED, OrderState.CANCELLED], ids=str)
def test_an_order_that_is_not_packed_is_not_dispatched(store: Store, start: OrderState | None) -> None:
    order = bring(store, start)
    with pytest.raises(RefusedError, match=f"is {start}" if start else "not in the database"):
        store.dispatch(order.id, HERE)


def test_an_unknown_order_id_is_refused(store: Store) -> None:
    with pytest.raises(RefusedError, match="order nobody is not in the database"):
        store.address("nobody")
    with pytest.raises(RefusedError, match="order nobody is not in the database"):
        store.note("nobody", EventType.LATE_SIGNAL, "run/1", {})
    assert store.rows("orders") == store.rows("events") == store.rows("payments", "nobody") == []


def test_a_note_with_a_known_key_is_not_recorded_again(store: Store) -> None:
    order = bring(store, OrderState.SHIPPED)
    before = len(events(store, order))
    for key in ("run/1", "run/2", "run/1", "run/2", "after a reset/1"):
        store.note(order.id, EventType.LATE_SIGNAL, key, {"reason": f"signal {key}"})
    assert events(store, order)[before:] == ["late_signal"] * 3
    assert state(store, order) == "shipped"


# --- a database in trouble -------------------------------------------------------------------------------------------


def lose_the_connection(engine: Engine) -> None:
    """Cut every connection, as a restart of PostgreSQL does."""
    wait_until_waiting(engine, 1)
    with engine.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        )


def wait_too_long(engine: Engine) -> None:
    """Do nothing: statement_timeout ends the wait."""


@pytest.mark.parametrize("trouble", [lose_the_connection, wait_too_long])
def test_an_interrupted_step_changes_nothing(store: Store, engine: Engine, trouble: Callable[[Engine], None]) -> None:
    order = bring(store, OrderState.APPROVED)
    before = tables(store)
    hasty = Store(create_engine(engine.url, connect_args={"options": "-c statement_timeout=300"}))
    with engine.begin() as holder, ThreadPoolExecutor(1) as thread:
        holder.execute(text("SELECT FROM orders FOR UPDATE"))
        charge = thread.submit(hasty.charge, order.id, order.payment_id)
        trouble(engine)
        with pytest.raises(OperationalError):
            charge.result(10)
    assert tables(store) == before
    assert hasty.charge(order.id, order.payment_id) == TOTAL
    hasty.engine.dispose()
