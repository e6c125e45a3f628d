"""The database itself refuses wrong changes, also those that the owner of the tables makes by hand in SQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import product

import psycopg2
import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from order_lifecycle.db.store import Store
from order_lifecycle.domain import BEFORE_DISPATCH, MOVES, EventType, OrderState, PaymentStatus
from tests.db.rig import TOTAL, at_once, bring, cancel, payments, state, tables

PAY = "INSERT INTO payments (payment_id, order_id, status, amount) VALUES "
PAID = PAY + "('p', 'abc-001', 'charged', 5.00)"
NOTE = "INSERT INTO events (order_id, type, step, payload_json) VALUES "
ORDER = "INSERT INTO orders (id, state, items, address_json) VALUES "
TO = "UPDATE orders SET state = "
SOLD = """'[{"qty":1,"price":1}]'"""


def by_hand(owner: Engine, statements: str) -> None:
    """Run the statements, separated by semicolons, in one transaction."""
    with owner.begin() as tx:
        for statement in statements.split(";"):
            tx.exec_driver_sql(statement)


def constraint_of(error: IntegrityError) -> str | None:
    """Return the name of the constraint that refused a statement."""
    assert isinstance(error.orig, psycopg2.Error)
    return error.orig.diag.constraint_name


@contextmanager
def refused_by(constraint: str) -> Iterator[None]:
    with pytest.raises(IntegrityError) as error:
        yield
    assert constraint_of(error.value) == constraint


# What is done to an order in that state (None: there is none), and what refuses it.
REFUSED: dict[str | None, dict[str, str]] = {
    None: {
        ORDER + f"('x', 'lost', {SOLD}, '{{}}')": "orders_state_is_known",
        ORDER + "('x', 'received', '[]', '{}')": "orders_items_is_a_list",
        ORDER + "('x', 'received', '{}', '{}')": "orders_items_is_a_list",
        ORDER + f"('x', 'cancelled', {SOLD}, '{{}}')": "orders_begin_as_received",
        **{
            ORDER + f"""('x', 'received', '[{{"qty":1,"price":1}},{item}]', '{{}}')""": "items_can_be_sold"
            for item in (
                "1",
                "{}",
                '{"qty":-2,"price":"-5.00"}',
                '{"qty":0,"price":"5.00"}',
                '{"qty":1.5,"price":"5.00"}',
                '{"qty":1,"price":"-0.01"}',
                '{"qty":1,"price":"0.001"}',
                '{"qty":1,"price":"NaN"}',
                '{"qty":1,"price":"Infinity"}',
                '{"qty":null,"price":"5.00"}',
            )
        },
        ORDER + f"('x', 'shipped', {SOLD}, '{{}}')": "orders_begin_as_received",
        PAY + "('p', 'nobody', 'charged', 1)": "payments_order_id_fkey",
        NOTE + "('nobody', 'late_signal', 'late_signal', '{}')": "events_order_id_fkey",
    },
    "received": {
        ORDER + f"('abc-001', 'received', {SOLD}, '{{}}')": "orders_pkey",
        "UPDATE orders SET items = '[]'": "orders_are_kept",
        "UPDATE orders SET id = 'another'": "orders_are_kept",
        "UPDATE orders SET created_at = created_at - interval '1 s'": "orders_are_kept",
        "DELETE FROM orders": "events_order_id_fkey",
        "DELETE FROM events": "events_are_kept",
        "UPDATE events SET payload_json = '{}'": "events_are_kept",
        "UPDATE events SET ts = ts - interval '1 s'": "events_are_kept",
        NOTE + "('abc-001', 'late_signal', 'order_shipped', '{}')": "events_step_is_of_its_type",
        NOTE + "('abc-001', 'order_received', 'order_received', '{}')": "events_one_a_step",
        NOTE + "('abc-001', 'rumour', 'rumour', '{}')": "events_type_is_known",
        PAID: "no_charge_without_an_order",
    },
    "approved": {
        PAID: "no_charge_without_an_order",
        f"{TO} 'charged'": "no_shipment_without_a_charge",
        f"{TO} 'charged'; {PAY} ('p', 'abc-001', 'refunded', 5.00)": "payments_begin_as_charged",
        f"{TO} 'charged'; {PAY} ('p', 'abc-001', 'paid', 5.00)": "payments_status_is_known",
        f"{TO} 'charged'; {PAY} ('p', 'abc-001', 'charged', -5.00)": "payments_amount_is_not_negative",
        f"{TO} 'charged'; {PAY} ('p', 'abc-001', 'charged', 20.28)": "charge_is_the_sum_of_the_items",
        f"{TO} 'charged'; {PAY} ('p', 'abc-001', 'charged', 0)": "charge_is_the_sum_of_the_items",
        f"{TO} 'charged'; {PAY} ('p', 'abc-001', 'charged', 'NaN')": "charge_is_the_sum_of_the_items",
    },
    "charged": {
        PAY + "('second', 'abc-001', 'charged', 5.00)": "payments_one_an_order",
        PAY + "('pay-abc-001', 'abc-001', 'charged', 5.00)": "payments_pkey",
        "UPDATE payments SET status = 'refunded'": "no_shipment_without_a_charge",
        "UPDATE payments SET amount = 20.28": "payments_are_kept",
        "UPDATE payments SET payment_id = 'p'": "payments_are_kept",
        "DELETE FROM payments": "payments_are_kept",
        """UPDATE orders SET items = '[{"qty":1,"price":"1.00"}]'""": "orders_are_kept",
        """UPDATE orders SET items = '[{"qty":2029,"price":"0.01"}]'""": "orders_are_kept",
        f"{TO} 'cancelled'": "no_charge_without_an_order",
        f"{TO} 'failed'": "no_charge_without_an_order",
    },
    "dispatched": {
        """UPDATE orders SET address_json = '{"city":"Nowhere"}'""": "no_new_address_after_dispatch",
        NOTE + "('abc-001', 'address_changed', 'address_changed#9', '{}')": "no_new_address_after_dispatch",
    },
    "shipped": {
        """UPDATE orders SET address_json = '{"city":"Nowhere"}'""": "no_new_address_after_dispatch",
        "UPDATE payments SET status = 'refunded'": "no_shipment_without_a_charge",
        "UPDATE payments SET status = 'refunded'; UPDATE orders SET state = 'cancelled'": "order_moves_are_legal",
    },
    "cancelled": {
        """UPDATE orders SET address_json = '{"city":"Nowhere"}'""": "no_new_address_after_dispatch",
        PAID: "no_charge_without_an_order",
        f"{TO} 'received'": "order_moves_are_legal",
    },
    "failed": {PAID: "no_charge_without_an_order", f"{TO} 'cancelled'": "order_moves_are_legal"},
}


@pytest.mark.parametrize("start", REFUSED, ids=str)
def test_the_database_refuses_illegal_statements(store: Store, owner: Engine, start: str | None) -> None:
    bring(store, OrderState(start) if start else None)
    before = tables(store)
    for statements, constraint in REFUSED[start].items():
        with refused_by(constraint):
            by_hand(owner, statements)
        assert tables(store) == before


def test_a_refunded_payment_stays_and_stays_refunded(store: Store, owner: Engine) -> None:
    order = bring(store, OrderState.CHARGED)
    cancel(store, order)
    with refused_by("no_charge_without_an_order"):
        by_hand(owner, "UPDATE payments SET status = 'charged'")
    with refused_by("payments_are_kept"):
        by_hand(owner, "DELETE FROM payments")
    assert payments(store, order) == [("refunded", TOTAL)]


def test_a_payment_cannot_move_to_another_order(store: Store, owner: Engine) -> None:
    bring(store, OrderState.SHIPPED)
    bring(store, OrderState.APPROVED, "other")
    with refused_by("payments_are_kept"):
        by_hand(owner, "UPDATE payments SET order_id = 'other'; UPDATE orders SET state = 'charged' WHERE id = 'other'")


def charge_by_hand(owner: Engine, amount: str) -> None:
    step = NOTE + "('abc-001', 'payment_charged', 'payment_charged', '{}')"
    by_hand(owner, f"{TO} 'charged'; {PAY} ('p', 'abc-001', 'charged', {amount}); {step}")


def test_a_charge_is_rounded_to_cents_and_must_equal_the_sum_of_the_items(store: Store, owner: Engine) -> None:
    """numeric(10,2) rounds its input. The rounded amount must be the sum of the items."""
    order = bring(store, OrderState.APPROVED)
    with refused_by("charge_is_the_sum_of_the_items"):
        charge_by_hand(owner, "5.005")
    for amount in ("100000000", "'Infinity'", "'1e400'"):
        with pytest.raises(DataError, match=r"overflow|infinite"):
            charge_by_hand(owner, amount)
    charge_by_hand(owner, "5.0049999")
    assert payments(store, order) == [("charged", Decimal("5.00"))]


def test_the_legal_moves_are_those_of_the_domain(owner: Engine) -> None:
    ends = {(before, end) for before in BEFORE_DISPATCH for end in (OrderState.CANCELLED, OrderState.FAILED)}
    moved = set()
    with owner.connect() as tx:
        for before, after in product(OrderState, OrderState):
            with tx.begin_nested() as attempt:
                tx.exec_driver_sql("ALTER TABLE orders DISABLE TRIGGER orders_begin_as_received")
                tx.exec_driver_sql(ORDER + f"('x', '{before}', {SOLD}, '{{}}')")
                try:
                    tx.execute(text(TO + ":after"), {"after": after})
                except IntegrityError as error:
                    if constraint_of(error) != "order_moves_are_legal":
                        raise
                else:
                    moved.add((before, after))
                attempt.rollback()
    stays = {(state, state) for state in OrderState}
    assert moved - stays == {*MOVES.values(), *ends}


def test_the_database_and_the_domain_have_the_same_states_and_event_types(owner: Engine) -> None:
    lists = {"orders_state": OrderState, "payments_status": PaymentStatus, "events_type": EventType}
    check = text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name")
    with owner.connect() as view:
        for name, known in lists.items():
            words = re.findall("'(.+?)'", view.scalar(check, {"name": f"{name}_is_known"}))
            assert sorted(words) == sorted(known)


# --- two transactions, each of which sees only its own half ----------------------------------------------------------


def nobody_waits_at_the_end(*transactions: Connection) -> None:
    """Limit each wait for a lock to 0.5 s, because statement_timeout does not limit the wait of a COMMIT."""
    for tx in transactions:
        tx.execute(text("SET LOCAL lock_timeout = 500"))


@pytest.mark.parametrize("cancel_first", [True, False])
def test_a_charge_and_a_cancel_in_two_transactions_cannot_both_commit(
    store: Store, owner: Engine, cancel_first: bool
) -> None:
    order = bring(store, OrderState.APPROVED)
    with owner.connect() as one, owner.connect() as two:
        nobody_waits_at_the_end(one, two)
        for tx, statement in [(two, f"{TO} 'cancelled'"), (one, PAID)][:: 1 if cancel_first else -1]:
            tx.execute(text(statement))

        def commit_the_charge() -> None:
            with refused_by("no_charge_without_an_order"):  # and not: a deadlock, of which either may be the victim
                one.commit()

        at_once(commit_the_charge, two.commit)
    by_hand(owner, NOTE + "('abc-001', 'order_cancelled', 'order_cancelled', '{}')")
    assert state(store, order) == "cancelled"
    assert payments(store, order) == []


def test_a_charge_split_over_two_transactions_is_refused(store: Store, owner: Engine) -> None:
    order = bring(store, OrderState.APPROVED)
    with owner.connect() as one, owner.connect() as two:
        nobody_waits_at_the_end(one, two)
        one.execute(text(PAID))
        two.execute(text(f"{TO} 'charged'"))
        with refused_by("no_shipment_without_a_charge"):
            two.commit()
        with refused_by("no_charge_without_an_order"):
            one.commit()
    assert state(store, order) == "approved"


def test_a_cancel_with_an_old_snapshot_is_refused(store: Store, owner: Engine) -> None:
    order = bring(store, OrderState.APPROVED)
    with owner.connect().execution_options(isolation_level="REPEATABLE READ") as old:
        assert old.scalar(text("SELECT count(*) FROM payments")) == 0
        store.charge(order.id, order.payment_id)
        with pytest.raises(OperationalError, match="could not serialize"):
            old.execute(text(f"{TO} 'cancelled'"))
    assert state(store, order) == "charged"


# --- what a function looks at ----------------------------------------------------------------------------------------


def test_a_temporary_table_does_not_bypass_a_rule(store: Store, owner: Engine) -> None:
    """The owner may create one. The application may not even do that."""
    bring(store, OrderState.APPROVED)
    with refused_by("no_charge_without_an_order"):
        by_hand(
            owner,
            "CREATE TEMPORARY TABLE orders (LIKE public.orders) ON COMMIT DROP; "
            "INSERT INTO orders SELECT id, 'charged', items, address_json, now(), now() FROM public.orders; "
            "CREATE TEMPORARY TABLE payments (LIKE public.payments) ON COMMIT DROP; "
            "INSERT INTO public.payments VALUES ('p', 'abc-001', 'charged', 5.00)",
        )


def test_a_writer_cannot_set_updated_at(store: Store, engine: Engine) -> None:
    bring(store, OrderState.APPROVED)
    by_hand(engine, "UPDATE orders SET updated_at = '2001-01-01'")
    with engine.connect() as view:
        assert view.scalar(text("SELECT updated_at > now() - interval '1 h' FROM orders"))
