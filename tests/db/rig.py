"""Bring an order into any state, and call the store from several connections at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Barrier
from typing import Any

from sqlalchemy import Engine, text

from order_lifecycle.db.store import Store
from order_lifecycle.domain import Address, EventType, Order, OrderState, RefusedError
from tests.support.orders import an_order
from tests.support.waiting import wait_until

RUN = "run-1"
HERE = Address(address="575 Lake Dr.", city="Columbus", state="OH", zipcode="43210")
THERE = Address(address="5 Lake Dr.", city="Temp", state="AL", zipcode="43561")
YONDER = Address(address="1 High St.", city="Salem", state="OR", zipcode="97301")
TOTAL = Decimal("5.00")


def cancel(store: Store, order: Order) -> OrderState:
    return store.close(order, RUN, OrderState.CANCELLED, "changed my mind")


# The calls that lead an order along its path, each with the state that it leads to.
STEPS: dict[OrderState, Callable[[Store, Order], object]] = {
    OrderState.RECEIVED: lambda store, order: store.receive(order, RUN),
    OrderState.VALIDATED: lambda store, order: store.advance(order.id, EventType.ORDER_VALIDATED),
    OrderState.AWAITING_REVIEW: lambda store, order: store.validate(order),
    OrderState.APPROVED: lambda store, order: store.advance(order.id, EventType.ORDER_APPROVED),
    OrderState.CHARGED: lambda store, order: store.charge(order.id, order.payment_id),
    OrderState.PACKED: lambda store, order: store.advance(order.id, EventType.PACKAGE_PREPARED),
    OrderState.DISPATCHED: lambda store, order: store.dispatch(order.id, store.address(order.id)),
    OrderState.SHIPPED: lambda store, order: store.advance(order.id, EventType.ORDER_SHIPPED),
}


def bring(store: Store, to: OrderState | None, order_id: str = "abc-001") -> Order:
    """Return a new order in the state `to`; None: it is not in the database. An order that ends early was approved."""
    order = an_order(order_id)
    ended = to in (OrderState.CANCELLED, OrderState.FAILED)
    go_on(store, order, OrderState.APPROVED if ended else to)
    if to is not None and ended:
        store.close(order, RUN, to, "the end")
    return order


def go_on(store: Store, order: Order, to: OrderState | None) -> None:
    """Do every step up to the state `to`. Steps that are already done are repeated, which changes nothing."""
    for state, step in STEPS.items():
        if to is None:
            return
        step(store, order)
        if state is to:
            return


def tables(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every table, without the time of its last change."""
    found = {name: [dict(row) for row in store.rows(name)] for name in ("orders", "payments", "events")}
    for row in found["orders"]:
        del row["updated_at"]
    return found


def state(store: Store, order: Order) -> str:
    return str(store.rows("orders", order.id)[0]["state"])


def events(store: Store, order: Order) -> list[str]:
    return [row["type"] for row in store.rows("events", order.id)]


def payments(store: Store, order: Order) -> list[tuple[str, Decimal]]:
    return [(row["status"], row["amount"]) for row in store.rows("payments", order.id)]


def answer(call: Callable[[], object]) -> object:
    """Return what the call returns, or its refusal."""
    try:
        return call()
    except RefusedError as refused:
        return refused


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Start the calls together, each in its own thread and connection, and return their answers."""
    start = Barrier(len(calls), timeout=10)

    def one(call: Callable[[], object]) -> object:
        start.wait()
        return answer(call)

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(one, calls))


def in_turn(engine: Engine, order: Order, *calls: Callable[[], object]) -> list[object]:
    """Run two calls that both wait for the order's row, then release it, and return their answers.

    The calls get the row in the order in which they asked. Both have begun before anything changes.
    """
    with ThreadPoolExecutor(len(calls)) as threads:
        with engine.begin() as holder:
            holder.execute(text("SELECT FROM orders WHERE id = :id FOR UPDATE"), {"id": order.id})
            answers = []
            for number, call in enumerate(calls, 1):
                answers.append(threads.submit(answer, call))
                wait_until_waiting(holder.engine, number)
        return [one.result() for one in answers]


def wait_until_waiting(engine: Engine, number: int, seconds: float = 0) -> None:
    """Wait until so many connections have waited for a lock for so many seconds; at most 10 s."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
        "AND clock_timestamp() - query_start >= make_interval(secs => :seconds)"
    )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as view:
        wait_until(
            lambda: view.scalar(text(waiting), {"seconds": seconds}),
            lambda count: count == number,
            what=f"{number} connections that wait for a lock",
            timeout=10,
        )
