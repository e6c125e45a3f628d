"""Each check of the audit can fail.

The database refuses most of this damage. So these tests use their own database, without triggers and unique indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, create_engine, text

from order_lifecycle.db.audit import INVARIANTS, QUERIES, audit, count_by_state
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import EventType, OrderState
from tests.db.rig import THERE, bring, wait_until_waiting

NOTE = "INSERT INTO events (order_id, type, step, payload_json) VALUES "

# What is done to an order in that state, and the invariants that it breaks.
BROKEN: list[tuple[OrderState, str, set[int]]] = [
    (OrderState.CHARGED, "INSERT INTO payments VALUES ('again', 'abc-001', 'charged', 5.00)", {1}),
    (OrderState.CHARGED, "UPDATE payments SET amount = amount + 0.01", {1}),
    (OrderState.CHARGED, "UPDATE orders SET state = 'cancelled'", {2, 4}),
    (OrderState.CHARGED, "UPDATE orders SET state = 'failed'", {2, 4}),
    (OrderState.SHIPPED, "DELETE FROM payments", {3}),
    (OrderState.SHIPPED, "UPDATE payments SET status = 'refunded'", {3, 4}),
    (OrderState.SHIPPED, "DELETE FROM events WHERE type = 'order_shipped'", {3, 4}),
    (OrderState.SHIPPED, NOTE + "('abc-001', 'order_shipped', 'order_shipped', '{}')", {3, 4, 6}),
    (OrderState.APPROVED, "DELETE FROM events WHERE type = 'order_validated'", {4}),
    (OrderState.APPROVED, "DELETE FROM events", {4}),
    (OrderState.APPROVED, "UPDATE orders SET state = 'charged'", {4}),
    (
        OrderState.RECEIVED,
        NOTE + "('abc-001', 'late_signal', 'late_signal#1', '{}'), ('abc-001', 'late_signal', 'late_signal#1', '{}')",
        {4},
    ),
    (OrderState.DISPATCHED, 'UPDATE orders SET address_json = address_json || \'{"city": "Nowhere"}\'', {5}),
    (
        OrderState.DISPATCHED,
        "UPDATE events SET payload_json = '{\"address\": {}}' WHERE type = 'carrier_dispatched'",
        {5},
    ),
    (OrderState.DISPATCHED, "UPDATE events SET payload_json = '{}' WHERE type = 'carrier_dispatched'", {5}),
    (OrderState.CHARGED, NOTE + "('abc-001', 'payment_refunded', 'payment_refunded', '{}')", {4}),
    (
        OrderState.RECEIVED,
        "UPDATE events SET type = 'late_signal', step = 'late_signal#1' WHERE type = 'order_received'",
        {4},
    ),
    (OrderState.CANCELLED, NOTE + "('abc-001', 'address_changed', 'address_changed#1', '{}')", {6}),
    (OrderState.CANCELLED, NOTE + "('abc-001', 'order_failed', 'order_failed', '{}')", {4, 6}),
    (OrderState.SHIPPED, "UPDATE orders SET updated_at = now() + interval '1 s'", {6}),
]


@pytest.fixture
def unguarded(superuser_url: str) -> Iterator[Engine]:
    engine = connect(superuser_url)
    with engine.begin() as tx:
        # ON CONFLICT DO NOTHING names no index, so the store works without.
        tx.exec_driver_sql("DROP INDEX payments_one_an_order, events_one_a_step")
    yield engine
    engine.dispose()


@pytest.mark.parametrize(("state", "damage", "invariants"), BROKEN)
def test_the_audit_finds_each_broken_invariant(
    unguarded: Engine, state: OrderState, damage: str, invariants: set[int]
) -> None:
    bring(Store(unguarded), state)
    assert audit(unguarded) == []
    with unguarded.begin() as tx:
        tx.exec_driver_sql("SET LOCAL session_replication_role = replica")  # no triggers
        tx.exec_driver_sql(damage)
    found = audit(unguarded)
    assert {violation.invariant for violation in found} == invariants
    assert {violation.order_id for violation in found} == {"abc-001"}


def test_every_invariant_in_sql_has_a_case() -> None:
    assert set().union(*(invariants for _, _, invariants in BROKEN)) == set(QUERIES) == set(INVARIANTS) - {7}


def test_the_audit_finds_nothing_in_any_legal_state(store: Store) -> None:
    for state in OrderState:
        bring(store, state, f"order-{state}")
    store.change_address("order-charged", "run/1", THERE)
    store.note("order-shipped", EventType.LATE_SIGNAL, "run/1", {"reason": "cancel_order"})
    assert audit(store.engine) == []
    assert count_by_state(store.engine) == {state.value: 1 for state in OrderState}


@pytest.mark.parametrize(("look", "finds"), [(audit, []), (count_by_state, {"charged": 1})])
def test_the_audit_has_more_time_than_a_step(
    store: Store, owner: Engine, look: Callable[[Engine], object], finds: object
) -> None:
    """A big table takes long to read. Here a lock on the table takes longer than a limit of 0.2 s."""
    bring(store, OrderState.CHARGED)
    hasty = create_engine(store.engine.url, connect_args={"options": "-c statement_timeout=200"})
    with owner.begin() as holder, ThreadPoolExecutor(1) as thread:
        holder.execute(text("LOCK TABLE orders"))
        looking = thread.submit(look, hasty)
        try:
            wait_until_waiting(store.engine, 1, seconds=0.4)
        finally:
            holder.rollback()
        assert looking.result(10) == finds
    hasty.dispose()
