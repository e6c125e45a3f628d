"""A repeated write gets the same answer and changes nothing, at once or later.

Temporal runs an activity at least once, and an attempt that timed out may still run beside the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from order_lifecycle.db.store import Store
from order_lifecycle.domain import EventType, Order, OrderState
from tests.db.rig import HERE, RUN, at_once, bring, cancel, events, go_on, payments, state, tables

ROUNDS = 4

Call = Callable[[Store, Order], object]
# Each with the state that it starts from.
WRITES: dict[str, tuple[OrderState | None, Call]] = {
    "receive": (None, lambda store, order: store.receive(order, RUN)),
    "validate": (OrderState.RECEIVED, lambda store, order: store.validate(order)),
    "approve": (OrderState.AWAITING_REVIEW, lambda store, order: store.advance(order.id, EventType.ORDER_APPROVED)),
    "charge": (OrderState.APPROVED, lambda store, order: store.charge(order.id, order.payment_id)),
    "pack": (OrderState.CHARGED, lambda store, order: store.advance(order.id, EventType.PACKAGE_PREPARED)),
    "change_address": (OrderState.PACKED, lambda store, order: store.change_address(order.id, "run/1", HERE)),
    "dispatch": (OrderState.PACKED, lambda store, order: store.dispatch(order.id, HERE)),
    "ship": (OrderState.DISPATCHED, lambda store, order: store.advance(order.id, EventType.ORDER_SHIPPED)),
    "cancel, not received": (None, cancel),
    "cancel, not charged": (OrderState.APPROVED, cancel),
    "cancel, charged": (OrderState.PACKED, cancel),
    "cancel, dispatched": (OrderState.DISPATCHED, cancel),
    "fail": (OrderState.CHARGED, lambda store, order: store.close(order, RUN, OrderState.FAILED, "no carrier")),
    "note": (
        OrderState.SHIPPED,
        lambda store, order: store.note(order.id, EventType.LATE_SIGNAL, "run/1", {"reason": "?"}),
    ),
}
STEPS_OF_THE_PATH = ["receive", "validate", "approve", "charge", "pack", "change_address", "dispatch", "ship"]


@pytest.mark.parametrize("name", WRITES)
def test_a_repeated_write_gets_the_same_answer_and_changes_nothing(store: Store, name: str) -> None:
    before, write = WRITES[name]
    for number in range(ROUNDS):
        order, alone = bring(store, before, f"both-{number}"), bring(store, before, f"alone-{number}")
        first = write(store, alone)
        assert at_once(*[partial(write, store, order)] * 3) == [first] * 3
        assert write(store, order) == first
        assert events(store, order) == events(store, alone)
        assert payments(store, order) == payments(store, alone)
        assert state(store, order) == state(store, alone)


@pytest.mark.parametrize("name", STEPS_OF_THE_PATH)
def test_a_step_repeated_after_the_end_changes_nothing(store: Store, name: str) -> None:
    """An attempt hangs while the order continues. It then finds its step done, and does not change the order."""
    before, write = WRITES[name]
    for end in (OrderState.SHIPPED, OrderState.CANCELLED):
        order = bring(store, before, f"abc-{end}")
        first = write(store, order)
        if end is OrderState.SHIPPED:
            go_on(store, order, end)
        else:
            cancel(store, order)
        unchanged = tables(store)
        assert write(store, order) == (state(store, order) if name == "change_address" else first)
        assert tables(store) == unchanged
