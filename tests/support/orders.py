"""The order that most tests use."""

from __future__ import annotations

from order_lifecycle.domain import Order, parse_order

ITEMS = '[{"name": "apple", "qty": 3, "price": 0.10}, {"name": "pear", "qty": 1, "price": 4.70}]'  # 5.00 in all
ADDRESS = '{"address": "575 Lake Dr.", "city": "Columbus", "state": "OH", "zipcode": "43210"}'


def an_order(order_id: str = "abc-001", payment_id: str | None = None) -> Order:
    return parse_order(order_id, payment_id or f"pay-{order_id}", ITEMS, ADDRESS)
