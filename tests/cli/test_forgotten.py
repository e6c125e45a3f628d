"""What Temporal has forgotten, because it ended long ago, is no violation."""

from __future__ import annotations

from order_lifecycle.client import connect as connect_to_temporal
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import EventType, OrderState, parse_order
from order_lifecycle.report import compare_with_temporal
from order_lifecycle.settings import Settings


async def test_an_order_that_ended_before_temporal_forgot_it(settings: Settings) -> None:
    assert settings.database_url
    store = Store(connect(settings.database_url.get_secret_value()))
    for order_id in ("long-ago", "just-now", "still-runs"):
        order = parse_order(
            order_id,
            f"pay-{order_id}",
            '[{"name": "apple", "qty": 1, "price": 5}]',
            '{"address": "575 Lake Dr.", "city": "Columbus", "state": "OH", "zipcode": "43210"}',
        )
        store.receive(order, "no-run")
        if order_id == "still-runs":
            store.advance(order_id, EventType.ORDER_VALIDATED)
        else:
            store.close(order, "no-run", OrderState.CANCELLED, "never mind")
    with store.engine.begin() as tx:
        tx.exec_driver_sql("UPDATE orders SET updated_at = now() - interval '3 days' WHERE id <> 'just-now'")
    found = await compare_with_temporal(await connect_to_temporal(settings), store.standings)
    said = {violation.order_id: violation.detail for violation in found if violation.order_id in store.standings()}
    assert said == {
        "just-now": "the row is cancelled, and Temporal knows no such order",
        "still-runs": "the row is validated, and Temporal knows no such order",
    }
    store.engine.dispose()
