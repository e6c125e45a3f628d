"""Check the seven invariants of an order.

The first six are SQL queries over the whole database. Each query lists the orders that violate its
invariant, with a detail. The seventh, in reconciliation.py, compares the database with
Temporal: how each workflow has closed, and whether the workflow of a charged order can go on.

`order-lifecycle audit`, the tests, the chaos runs and the notebooks all run these queries.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, text

from order_lifecycle.db.connection import LONG_TRANSACTION

INVARIANTS: dict[int, str] = {
    1: "an order is charged at most once, for exactly the sum of its items",
    2: "a cancelled or failed order has no charge that is not refunded",
    3: "a shipped order has exactly one charge and one order_shipped event",
    4: "an order's events are a legal path, in order, none twice, and end in its state",
    5: "the address dispatched to is the last one accepted before dispatch",
    6: "nothing changes after a terminal state, except the record of a late signal",
    7: "Temporal's view of an order and its row agree",
}

_CHARGED_ONCE = """
    SELECT o.id AS order_id,
        format('%s payments of %s, its items cost %s', count(*), sum(p.amount), due.total) AS detail
    FROM orders o
    JOIN payments p ON p.order_id = o.id
    CROSS JOIN LATERAL (
        SELECT sum((item ->> 'qty')::numeric * (item ->> 'price')::numeric) AS total
        FROM jsonb_array_elements(o.items) AS item
    ) due
    GROUP BY o.id, due.total
    HAVING count(*) > 1 OR sum(p.amount) IS DISTINCT FROM due.total
"""

_REFUNDED = """
    SELECT o.id AS order_id,
        format('%s, and payment %s of %s is not refunded',
            o.state, p.payment_id, p.amount) AS detail
    FROM orders o JOIN payments p ON p.order_id = o.id
    WHERE o.state IN ('cancelled', 'failed') AND p.status <> 'refunded'
"""

_SHIPPED_AND_PAID = """
    SELECT o.id AS order_id,
        format('%s charges, %s order_shipped events', charges.n, shipped.n) AS detail
    FROM orders o
    CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM payments WHERE order_id = o.id AND status = 'charged'
    ) charges
    CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM events WHERE order_id = o.id AND type = 'order_shipped'
    ) shipped
    WHERE o.state = 'shipped' AND (charges.n, shipped.n) <> (1, 1)
"""

# The events that change an order's state, each with the state before and after it. An order may be
# cancelled or fail in any state before `dispatched`. A refund changes no state, so it is not here.
_LEGAL_PATH = """
    WITH moves(type, before, after) AS (VALUES
        ('order_received', NULL, 'received'),
        ('order_validated', 'received', 'validated'),
        ('review_requested', 'validated', 'awaiting_review'),
        ('order_approved', 'awaiting_review', 'approved'),
        ('payment_charged', 'approved', 'charged'),
        ('package_prepared', 'charged', 'packed'),
        ('carrier_dispatched', 'packed', 'dispatched'),
        ('order_shipped', 'dispatched', 'shipped'),
        ('order_cancelled', NULL, 'cancelled'),
        ('order_failed', NULL, 'failed')
    ),
    path AS (
        SELECT e.order_id, e.id, e.type, m.before, m.after,
            lag(m.after) OVER one_order AS came_from,
            lead(m.after) OVER one_order AS goes_to
        FROM events e JOIN moves m USING (type)
        WINDOW one_order AS (PARTITION BY e.order_id ORDER BY e.id)
    )
    SELECT order_id, format('%s after %s', type, coalesce(came_from, 'nothing')) AS detail
    FROM path
    WHERE CASE
        WHEN type = 'order_received' THEN came_from IS NOT NULL
        WHEN type IN ('order_cancelled', 'order_failed')
            THEN came_from IS NULL OR came_from IN ('dispatched', 'shipped', 'cancelled', 'failed')
        ELSE came_from IS DISTINCT FROM before
    END
    UNION ALL
    SELECT path.order_id, format('the row is %s, its events end in %s', o.state, after) AS detail
    FROM path JOIN orders o ON o.id = path.order_id
    WHERE goes_to IS NULL AND after <> o.state
    UNION ALL
    SELECT id, 'no order_received event' FROM orders
    WHERE NOT EXISTS (SELECT FROM events WHERE order_id = orders.id AND type = 'order_received')
    UNION ALL
    SELECT o.id, format('%s refunded payments, %s payment_refunded events', refunded.n, said.n)
    FROM orders o
    CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM payments WHERE order_id = o.id AND status = 'refunded'
    ) refunded
    CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM events WHERE order_id = o.id AND type = 'payment_refunded'
    ) said
    WHERE refunded.n <> said.n
    UNION ALL
    SELECT order_id, format('%s was recorded %s times', step, count(*))
    FROM events GROUP BY order_id, step HAVING count(*) > 1
"""

_RIGHT_ADDRESS = """
    SELECT d.order_id,
        format('dispatched to %s, but the accepted address was %s',
            coalesce(d.payload_json ->> 'address', 'nowhere'), accepted.address) AS detail
    FROM events d
    JOIN orders o ON o.id = d.order_id
    CROSS JOIN LATERAL (
        SELECT coalesce(
            (SELECT a.payload_json FROM events a
             WHERE a.order_id = d.order_id AND a.type = 'address_changed' AND a.id < d.id
             ORDER BY a.id DESC LIMIT 1),
            o.address_json
        ) AS address
    ) accepted
    WHERE d.type = 'carrier_dispatched'
        AND (d.payload_json -> 'address' IS DISTINCT FROM accepted.address
            OR d.payload_json -> 'address' IS DISTINCT FROM o.address_json)
"""

# A step changes the row and writes its event in one transaction, so both have the same time.
_NOTHING_AFTER_THE_END = """
    SELECT e.order_id, format('%s after %s', e.type, last.type) AS detail
    FROM events e
    JOIN events last ON last.order_id = e.order_id AND last.id < e.id
    WHERE last.type IN ('order_shipped', 'order_cancelled', 'order_failed')
        AND e.type <> 'late_signal'
    UNION ALL
    SELECT o.id, format('the row changed at %s, after %s at %s', o.updated_at, last.type, last.ts)
    FROM orders o JOIN events last ON last.order_id = o.id
    WHERE last.type IN ('order_shipped', 'order_cancelled', 'order_failed')
        AND o.updated_at > last.ts
"""

QUERIES: dict[int, str] = {
    1: _CHARGED_ONCE,
    2: _REFUNDED,
    3: _SHIPPED_AND_PAID,
    4: _LEGAL_PATH,
    5: _RIGHT_ADDRESS,
    6: _NOTHING_AFTER_THE_END,
}


@dataclass(frozen=True)
class Violation:
    """An order that violates an invariant, and how."""

    invariant: int
    order_id: str
    detail: str

    def __str__(self) -> str:
        invariant = f"invariant {self.invariant} ({INVARIANTS[self.invariant]})"
        return f"{invariant}: order {self.order_id}: {self.detail}"


def audit(engine: Engine) -> list[Violation]:
    """Return every violation of the invariants 1 to 6, from one snapshot of the database."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as view:
        view.execute(LONG_TRANSACTION)
        return [
            Violation(number, row.order_id, row.detail)
            for number, query in QUERIES.items()
            for row in view.execute(text(query))
        ]


def count_by_state(engine: Engine) -> dict[str, int]:
    """Return the number of orders in each state that has any."""
    with engine.connect() as view:
        view.execute(LONG_TRANSACTION)
        counted = view.execute(
            text("SELECT state, count(*) AS n FROM orders GROUP BY state ORDER BY state")
        )
        return {row.state: row.n for row in counted}
