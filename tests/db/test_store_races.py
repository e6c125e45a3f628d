"""Two who want different things of the same order at the same time, on connections of their own.

Each pair twice: `at_once`, many times, where chance decides who is first; and `in_turn`, where both wait for the order
while nothing has changed yet and we decide. After each test `store` looks at the invariants.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sqlalchemy import Engine

from order_lifecycle.db.store import Store
from order_lifecycle.domain import EventType, Order, OrderState, RefusedError
from tests.db.rig import (
    HERE,
    RUN,
    THERE,
    TOTAL,
    YONDER,
    at_once,
    bring,
    cancel,
    events,
    in_turn,
    payments,
    state,
)
from tests.support.orders import an_order

ROUNDS = 12
CANCELLED = OrderState.CANCELLED

Call = Callable[[Store, Order], object]


def charge(store: Store, order: Order) -> object:
    return store.charge(order.id, order.payment_id)


def dispatch(store: Store, order: Order) -> object:
    return store.dispatch(order.id, HERE)


def move_to_there(store: Store, order: Order) -> object:
    return store.change_address(order.id, "run/1", THERE)


def approve(store: Store, order: Order) -> object:
    return store.advance(order.id, EventType.ORDER_APPROVED)


def pack(store: Store, order: Order) -> object:
    return store.advance(order.id, EventType.PACKAGE_PREPARED)


def rounds(store: Store, start: OrderState | None, *calls: Call) -> list[tuple[Order, list[object]]]:
    """Orders of which each had all the calls at once, with the answers."""
    raced = []
    for number in range(ROUNDS):
        order = bring(store, start, f"abc-{number}")
        raced.append((order, at_once(*[partial(call, store, order) for call in calls])))
    return raced


def turns(store: Store, engine: Engine, start: OrderState, *calls: Call) -> tuple[Order, list[object]]:
    """An order that had the calls one after the other, and the answers."""
    order = bring(store, start, f"in-turn-{calls[0].__name__}")
    return order, in_turn(engine, order, *[partial(call, store, order) for call in calls])


def is_refused(answer: object) -> bool:
    return isinstance(answer, RefusedError)


# --- money -----------------------------------------------------------------------------------------------------------


def test_one_of_many_charges_counts(store: Store) -> None:
    for order, answers in rounds(store, OrderState.APPROVED, charge, charge, charge, charge):
        assert answers == [TOTAL] * 4
        assert payments(store, order) == [("charged", TOTAL)]
        assert events(store, order).count("payment_charged") == 1


def test_charge_and_cancel(store: Store) -> None:
    for order, (charged, cancelled) in rounds(store, OrderState.APPROVED, charge, cancel):
        assert cancelled is CANCELLED
        assert state(store, order) == "cancelled"
        assert payments(store, order) == ([] if is_refused(charged) else [("refunded", TOTAL)])


def test_charge_then_cancel_and_cancel_then_charge(store: Store, engine: Engine) -> None:
    order, answers = turns(store, engine, OrderState.APPROVED, charge, cancel)
    assert answers == [TOTAL, CANCELLED]
    assert payments(store, order) == [("refunded", TOTAL)]
    assert events(store, order)[-3:] == ["payment_charged", "payment_refunded", "order_cancelled"]
    assert charge(store, order) == TOTAL  # an attempt that comes later still: the same answer, and no money moves
    assert payments(store, order) == [("refunded", TOTAL)]
    order, (cancelled, charged) = turns(store, engine, OrderState.APPROVED, cancel, charge)
    assert cancelled is CANCELLED
    assert is_refused(charged)
    assert payments(store, order) == []


def test_two_orders_with_the_same_payment(store: Store) -> None:
    for number in range(ROUNDS):
        orders = [bring(store, OrderState.APPROVED, f"{which}-{number}") for which in ("one", "two")]
        answers = at_once(*[partial(store.charge, order.id, f"the-same-{number}") for order in orders])
        assert sorted(map(is_refused, answers)) == [False, True]
        winner = answers.index(TOTAL)
        assert [state(store, orders[winner]), state(store, orders[1 - winner])] == ["charged", "approved"]
        assert payments(store, orders[1 - winner]) == []


def note_a_failed_dispatch(store: Store, order: Order) -> None:
    store.note(order.id, EventType.DISPATCH_FAILED, "run/1", {"reason": "no van"})


def test_a_failed_dispatch_is_noted_before_the_end_or_not_at_all(store: Store, engine: Engine) -> None:
    order, _ = turns(store, engine, OrderState.PACKED, note_a_failed_dispatch, cancel)
    assert events(store, order)[-3:] == ["dispatch_failed", "payment_refunded", "order_cancelled"]
    order, _ = turns(store, engine, OrderState.PACKED, cancel, note_a_failed_dispatch)
    assert events(store, order)[-2:] == ["payment_refunded", "order_cancelled"]
    for order, _ in rounds(store, OrderState.PACKED, cancel, note_a_failed_dispatch):
        assert events(store, order)[-1] == "order_cancelled"


# --- the carrier -----------------------------------------------------------------------------------------------------


def test_dispatch_and_cancel(store: Store) -> None:
    for order, (dispatched, cancelled) in rounds(store, OrderState.PACKED, dispatch, cancel):
        if cancelled is CANCELLED:
            assert is_refused(dispatched)
            assert payments(store, order) == [("refunded", TOTAL)]
        else:
            assert [dispatched, cancelled] == [True, OrderState.DISPATCHED]
            assert payments(store, order) == [("charged", TOTAL)]
        assert state(store, order) == cancelled


def test_dispatch_then_cancel_and_cancel_then_dispatch(store: Store, engine: Engine) -> None:
    order, answers = turns(store, engine, OrderState.PACKED, dispatch, cancel)
    assert answers == [True, OrderState.DISPATCHED]
    assert payments(store, order) == [("charged", TOTAL)]
    order, (cancelled, dispatched) = turns(store, engine, OrderState.PACKED, cancel, dispatch)
    assert cancelled is CANCELLED
    assert is_refused(dispatched)
    assert payments(store, order) == [("refunded", TOTAL)]


def test_dispatch_and_change_of_address(store: Store) -> None:
    for order, (dispatched, changed) in rounds(store, OrderState.PACKED, dispatch, move_to_there):
        assert dispatched is is_refused(changed)  # one of them happened, never both and never none
        assert state(store, order) == ("dispatched" if dispatched else "packed")
        assert store.address(order.id) == (HERE if dispatched else THERE)
        assert ("address_changed" in events(store, order)) is not dispatched


def test_dispatch_then_change_and_change_then_dispatch(store: Store, engine: Engine) -> None:
    order, (dispatched, changed) = turns(store, engine, OrderState.PACKED, dispatch, move_to_there)
    assert dispatched is True
    assert is_refused(changed)
    assert store.address(order.id) == HERE
    order, answers = turns(store, engine, OrderState.PACKED, move_to_there, dispatch)
    assert answers == [OrderState.PACKED, False]
    assert store.address(order.id) == THERE
    assert state(store, order) == "packed"


def test_two_dispatches_that_read_different_addresses(store: Store) -> None:
    for number in range(ROUNDS):
        order = bring(store, OrderState.PACKED, f"abc-{number}")
        store.change_address(order.id, "run/1", THERE)
        assert at_once(*[partial(store.dispatch, order.id, address) for address in (HERE, THERE)]) == [False, True]


def test_changes_of_address_that_overtake_one_another(store: Store) -> None:
    """An old attempt at the first change beside the second: the row and the last event name the same address."""

    def to_yonder(store: Store, order: Order) -> object:
        return store.change_address(order.id, "run/2", YONDER)

    for order, _ in rounds(store, OrderState.CHARGED, move_to_there, to_yonder, move_to_there):
        changes = [event["payload_json"] for event in store.rows("events", order.id)[-2:]]
        assert sorted(changes, key=str) == sorted([THERE.model_dump(), YONDER.model_dump()], key=str)
        assert store.address(order.id).model_dump() == changes[-1]


# --- the review, the beginning and the end ---------------------------------------------------------------------------


def test_approve_and_cancel(store: Store) -> None:
    for order, (approved, cancelled) in rounds(store, OrderState.AWAITING_REVIEW, approve, cancel):
        assert cancelled is CANCELLED
        assert state(store, order) == "cancelled"
        assert ("order_approved" in events(store, order)) is not is_refused(approved)


def test_approve_after_the_review_expired(store: Store, engine: Engine) -> None:
    order, (cancelled, approved) = turns(store, engine, OrderState.AWAITING_REVIEW, cancel, approve)
    assert cancelled is CANCELLED
    assert is_refused(approved)
    assert events(store, order)[-1] == "order_cancelled"


def test_two_runs_with_the_same_order(store: Store) -> None:
    for number in range(ROUNDS):
        order = an_order(f"abc-{number}")
        answers = at_once(*[partial(store.receive, order, run) for run in ("a", "b", "a", "b")])
        refused = [is_refused(answer) for answer in answers]
        assert refused in ([False, True, False, True], [True, False, True, False])
        winner = "b" if refused[0] else "a"
        assert store.rows("events", order.id)[0]["payload_json"]["run_id"] == winner


def test_receive_and_cancel_of_an_order_that_is_not_there(store: Store) -> None:
    def receive(store: Store, order: Order) -> object:
        return store.receive(order, RUN)

    for order, answers in rounds(store, None, receive, cancel, receive):
        assert answers == [OrderState.RECEIVED, CANCELLED, OrderState.RECEIVED]
        assert events(store, order) == ["order_received", "order_cancelled"]


def test_two_different_ends(store: Store) -> None:
    def fail(store: Store, order: Order) -> object:
        return store.close(order, RUN, OrderState.FAILED, "no carrier")

    for order, (cancelled, failed) in rounds(store, OrderState.CHARGED, cancel, fail):
        assert cancelled is failed
        assert state(store, order) == cancelled
        assert events(store, order)[-2:] == ["payment_refunded", f"order_{cancelled}"]


def test_everything_at_once(store: Store) -> None:
    """Whoever comes in whatever turn, each of them twice: no deadlock, and in the end the invariants hold."""

    def note(store: Store, order: Order) -> None:
        store.note(order.id, EventType.LATE_SIGNAL, "run/1", {"reason": "?"})

    crowd: list[Call] = [approve, charge, pack, dispatch, cancel, move_to_there, note]
    for order, answers in rounds(store, OrderState.AWAITING_REVIEW, *crowd * 2)[:10]:
        assert len(answers) == 14
        assert answers[4] == answers[11] == state(store, order)
