"""Two connections ask for different changes of one order at the same time.

Most pairs run twice. `at_once` runs them many times, and chance decides which is first. `in_turn` makes both wait for
the order before anything changes, and the test decides. After each test, `store` checks the invariants.
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
    """Yield orders, each with the answers of calls that it got at once."""
    raced = []
    for number in range(ROUNDS):
        order = bring(store, start, f"abc-{number}")
        raced.append((order, at_once(*[partial(call, store, order) for call in calls])))
    return raced


def turns(store: Store, engine: Engine, start: OrderState, *calls: Call) -> tuple[Order, list[object]]:
    """Return an order that got the calls one after the other, with their answers."""
    order = bring(store, start, f"in-turn-{calls[0].__name__}")
    return order, in_turn(engine, order, *[partial(call, store, order) for call in calls])


def is_refused(answer: object) -> bool:
    return isinstance(answer, RefusedError)


# --- money -----------------------------------------------------------------------------------------------------------


def test_charges_at_once_charge_the_order_once(store: Store) -> None:
    for order, answers in rounds(store, OrderState.APPROVED, charge, charge, charge, charge):
        assert answers == [TOTAL] * 4
        assert payments(store, order) == [("charged", TOTAL)]
        assert events(store, order).count("payment_charged") == 1


def test_a_charge_and_a_cancel_at_once_never_keep_money(store: Store) -> None:
    for order, (charged, cancelled) in rounds(store, OrderState.APPROVED, charge, cancel):
        assert cancelled is CANCELLED
        assert state(store, order) == "cancelled"
        assert payments(store, order) == ([] if is_refused(charged) else [("refunded", TOTAL)])


def test_a_cancel_refunds_an_earlier_charge_and_prevents_a_later_one(store: Store, engine: Engine) -> None:
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


def test_two_orders_with_one_payment_id_are_not_both_charged(store: Store) -> None:
    for number in range(ROUNDS):
        orders = [bring(store, OrderState.APPROVED, f"{which}-{number}") for which in ("one", "two")]
        answers = at_once(*[partial(store.charge, order.id, f"the-same-{number}") for order in orders])
        assert sorted(map(is_refused, answers)) == [False, True]
        winner = answers.index(TOTAL)
        assert [state(store, orders[winner]), state(store, orders[1 - winner])] == ["charged", "approved"]
        assert payments(store, orders[1 - winner]) == []


def note_a_failed_dispatch(store: Store, order: Order) -> None:
    store.note(order.id, EventType.DISPATCH_FAILED, "run/1", {"reason": "no van"})


def test_a_failed_dispatch_is_recorded_before_the_end_or_not_at_all(store: Store, engine: Engine) -> None:
    order, _ = turns(store, engine, OrderState.PACKED, note_a_failed_dispatch, cancel)
    assert events(store, order)[-3:] == ["dispatch_failed", "payment_refunded", "order_cancelled"]
    order, _ = turns(store, engine, OrderState.PACKED, cancel, note_a_failed_dispatch)
    assert events(store, order)[-2:] == ["payment_refunded", "order_cancelled"]
    for order, _ in rounds(store, OrderState.PACKED, cancel, note_a_failed_dispatch):
        assert events(store, order)[-1] == "order_cancelled"


# --- the carrier -----------------------------------------------------------------------------------------------------


def test_a_dispatch_and_a_cancel_at_once_do_not_both_succeed(store: Store) -> None:
    for order, (dispatched, cancelled) in rounds(store, OrderState.PACKED, dispatch, cancel):
        if cancelled is CANCELLED:
            assert is_refused(dispatched)
            assert payments(store, order) == [("refunded", TOTAL)]
        else:
            assert [dispatched, cancelled] == [True, OrderState.DISPATCHED]
            assert payments(store, order) == [("charged", TOTAL)]
        assert state(store, order) == cancelled


def test_the_first_of_a_dispatch_and_a_cancel_succeeds(store: Store, engine: Engine) -> None:
    order, answers = turns(store, engine, OrderState.PACKED, dispatch, cancel)
    assert answers == [True, OrderState.DISPATCHED]
    assert payments(store, order) == [("charged", TOTAL)]
    order, (cancelled, dispatched) = turns(store, engine, OrderState.PACKED, cancel, dispatch)
    assert cancelled is CANCELLED
    assert is_refused(dispatched)
    assert payments(store, order) == [("refunded", TOTAL)]


def test_a_dispatch_and_an_address_change_at_once_do_not_both_succeed(store: Store) -> None:
    for order, (dispatched, changed) in rounds(store, OrderState.PACKED, dispatch, move_to_there):
        assert dispatched is is_refused(changed)  # one of them happened, never both and never none
        assert state(store, order) == ("dispatched" if dispatched else "packed")
        assert store.address(order.id) == (HERE if dispatched else THERE)
        assert ("address_changed" in events(store, order)) is not dispatched


def test_the_first_of_a_dispatch_and_an_address_change_succeeds(store: Store, engine: Engine) -> None:
    order, (dispatched, changed) = turns(store, engine, OrderState.PACKED, dispatch, move_to_there)
    assert dispatched is True
    assert is_refused(changed)
    assert store.address(order.id) == HERE
    order, answers = turns(store, engine, OrderState.PACKED, move_to_there, dispatch)
    assert answers == [OrderState.PACKED, False]
    assert store.address(order.id) == THERE
    assert state(store, order) == "packed"


def test_a_dispatch_to_an_old_address_does_not_happen(store: Store) -> None:
    for number in range(ROUNDS):
        order = bring(store, OrderState.PACKED, f"abc-{number}")
        store.change_address(order.id, "run/1", THERE)
        assert at_once(*[partial(store.dispatch, order.id, address) for address in (HERE, THERE)]) == [False, True]


def test_the_stored_address_is_that_of_the_last_address_event(store: Store) -> None:
    """An old attempt at the first change runs beside the second: the row and the last event name the same address."""

    def to_yonder(store: Store, order: Order) -> object:
        return store.change_address(order.id, "run/2", YONDER)

    for order, _ in rounds(store, OrderState.CHARGED, move_to_there, to_yonder, move_to_there):
        changes = [event["payload_json"] for event in store.rows("events", order.id)[-2:]]
        assert sorted(changes, key=str) == sorted([THERE.model_dump(), YONDER.model_dump()], key=str)
        assert store.address(order.id).model_dump() == changes[-1]


# --- the review, the beginning and the end ---------------------------------------------------------------------------


def test_an_approval_and_a_cancel_at_once_end_in_a_cancelled_order(store: Store) -> None:
    for order, (approved, cancelled) in rounds(store, OrderState.AWAITING_REVIEW, approve, cancel):
        assert cancelled is CANCELLED
        assert state(store, order) == "cancelled"
        assert ("order_approved" in events(store, order)) is not is_refused(approved)


def test_an_approval_after_the_review_expired_is_refused(store: Store, engine: Engine) -> None:
    order, (cancelled, approved) = turns(store, engine, OrderState.AWAITING_REVIEW, cancel, approve)
    assert cancelled is CANCELLED
    assert is_refused(approved)
    assert events(store, order)[-1] == "order_cancelled"


def test_two_runs_with_one_order_id_do_not_both_own_the_row(store: Store) -> None:
    for number in range(ROUNDS):
        order = an_order(f"abc-{number}")
        answers = at_once(*[partial(store.receive, order, run) for run in ("a", "b", "a", "b")])
        refused = [is_refused(answer) for answer in answers]
        assert refused in ([False, True, False, True], [True, False, True, False])
        winner = "b" if refused[0] else "a"
        assert store.rows("events", order.id)[0]["payload_json"]["run_id"] == winner


def test_a_receive_and_a_cancel_at_once_record_each_event_once(store: Store) -> None:
    def receive(store: Store, order: Order) -> object:
        return store.receive(order, RUN)

    for order, answers in rounds(store, None, receive, cancel, receive):
        assert answers == [OrderState.RECEIVED, CANCELLED, OrderState.RECEIVED]
        assert events(store, order) == ["order_received", "order_cancelled"]


def test_an_order_cancelled_and_failed_at_once_ends_in_one_state(store: Store) -> None:
    def fail(store: Store, order: Order) -> object:
        return store.close(order, RUN, OrderState.FAILED, "no carrier")

    for order, (cancelled, failed) in rounds(store, OrderState.CHARGED, cancel, fail):
        assert cancelled is failed
        assert state(store, order) == cancelled
        assert events(store, order)[-2:] == ["payment_refunded", f"order_{cancelled}"]


def test_all_operations_at_once_keep_the_invariants(store: Store) -> None:
    """Each operation comes twice, in any order: no deadlock, and in the end the invariants hold."""

    def note(store: Store, order: Order) -> None:
        store.note(order.id, EventType.LATE_SIGNAL, "run/1", {"reason": "?"})

    crowd: list[Call] = [approve, charge, pack, dispatch, cancel, move_to_there, note]
    for order, answers in rounds(store, OrderState.AWAITING_REVIEW, *crowd * 2)[:10]:
        assert len(answers) == 14
        assert answers[4] == answers[11] == state(store, order)
