"""Every change of an order's state with its event, in one transaction that is safe to repeat.

The rule that everything here follows: an UPDATE names the state that it starts from. Of two
attempts at the same step, or of a step and a cancel that race, PostgreSQL's row lock lets one pass
and the other then finds the state already changed. What a step reads before it writes cannot change
(the amount of a payment), or is locked (by `note`), or is only an early answer (to whom a payment
belongs, in `validate`: in the end the key of the payments decides).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Numeric,
    cast,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from order_lifecycle.db.connection import TAKE_YOUR_TIME
from order_lifecycle.db.connection import connect as connect
from order_lifecycle.db.models import Base, EventRow, OrderRow, PaymentRow
from order_lifecycle.domain import (
    BEFORE_DISPATCH,
    MOVES,
    TERMINAL,
    Address,
    AnotherRunError,
    EventType,
    Order,
    OrderState,
    PaymentStatus,
    RefusedError,
)


@dataclass(frozen=True)
class StoredState:
    """The state of an order's row, and when the row was last changed."""

    state: OrderState
    since: datetime


class Store:
    """The orders, payments and events of one database.

    Every method may raise `sqlalchemy.exc.DBAPIError` (the database cannot be reached or has ended
    the transaction: try again), `sqlalchemy.exc.TimeoutError` (no connection was free: try again)
    and, where it says so, `RefusedError` (it can be reached, and the answer is no).
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    # --- one method for each kind of step -------------------------------------------------------

    def receive(self, order: Order, run_id: str) -> OrderState:
        """Write the order down. Raises AnotherRunError if another workflow run (`run_id`) has
        written one of that name."""
        with self.engine.begin() as tx:
            _receive(tx, order, run_id)
        return OrderState.RECEIVED

    def advance(
        self, order_id: str, event: EventType, payload: dict[str, Any] | None = None
    ) -> OrderState:
        """Move the order along by the step that `event` records. Raises RefusedError if it is not
        in the state before."""
        with self.engine.begin() as tx:
            return _advance(tx, order_id, event, payload or {})

    def validate(self, order: Order) -> OrderState:
        """Received to validated to awaiting review. Raises RefusedError if the payment id belongs
        to another order."""
        with self.engine.begin() as tx:
            owner = select(PaymentRow.order_id).where(PaymentRow.payment_id == order.payment_id)
            if tx.scalar(owner) not in (None, order.id):
                raise RefusedError(f"payment {order.payment_id} belongs to another order")
            _advance(tx, order.id, EventType.ORDER_VALIDATED, {})
            return _advance(tx, order.id, EventType.REVIEW_REQUESTED, {})

    def charge(self, order_id: str, payment_id: str) -> Decimal:
        """Charge the sum of the order's items, once, and return it. `payment_id` is the idempotency
        key: whoever repeats the call gets the same answer and moves no money. Raises RefusedError
        if the
        order is not approved (it was cancelled meanwhile, say), or if `payment_id` belongs to
        another order."""
        item = func.jsonb_array_elements(OrderRow.items).table_valued("value")
        quantity = cast(item.c.value.op("->>")("qty"), Numeric)
        price = cast(item.c.value.op("->>")("price"), Numeric)
        due = select(func.sum(quantity * price)).scalar_subquery()
        with self.engine.begin() as tx:
            amount = None
            if _move(tx, order_id, EventType.PAYMENT_CHARGED):
                charge = select(
                    literal(payment_id), OrderRow.id, literal(PaymentStatus.CHARGED.value), due
                ).where(OrderRow.id == order_id)
                amount = tx.scalar(
                    insert(PaymentRow)
                    .from_select(["payment_id", "order_id", "status", "amount"], charge)
                    .on_conflict_do_nothing()
                    .returning(PaymentRow.amount)
                )
            if amount is None:  # charged by an earlier attempt; or that payment is another order's
                amount = tx.scalar(
                    select(PaymentRow.amount).where(
                        PaymentRow.payment_id == payment_id, PaymentRow.order_id == order_id
                    )
                )
            if amount is None:
                raise RefusedError(f"payment {payment_id} is not that of order {order_id}")
            payload = {"payment_id": payment_id, "amount": str(amount)}
            _record(tx, order_id, EventType.PAYMENT_CHARGED, payload)
            return amount

    def address(self, order_id: str) -> Address:
        """Where the order goes to now. Raises RefusedError if there is no such order."""
        with self.engine.connect() as tx:
            address = tx.scalar(select(OrderRow.address_json).where(OrderRow.id == order_id))
            if address is None:
                raise RefusedError(f"order {order_id} is not in the database")
            return Address.model_validate(address)

    def change_address(self, order_id: str, number: int, address: Address) -> OrderState:
        """The order's `number`-th change of address. Raises RefusedError once the carrier has the
        parcel, or the order has ended. Returns the state that the order has."""
        with self.engine.begin() as tx:
            change = update(OrderRow).where(
                OrderRow.id == order_id, OrderRow.state.in_(BEFORE_DISPATCH)
            )
            if tx.execute(change.values(updated_at=func.now())).rowcount:
                # Only if it is new: an attempt that hung while a newer change was made must not
                # undo that one.
                if _record(tx, order_id, EventType.ADDRESS_CHANGED, address.model_dump(), number):
                    tx.execute(change.values(address_json=address.model_dump()))
            elif not _happened(tx, order_id, EventType.ADDRESS_CHANGED, number):
                raise RefusedError(
                    f"too late to change the address: the order is {_state(tx, order_id)}"
                )
            return _state(tx, order_id)

    def dispatch(self, order_id: str, address: Address) -> bool:
        """Packed to dispatched, provided that the parcel still goes to `address`. False if it goes
        elsewhere. Raises RefusedError if the order is not packed (it was cancelled meanwhile,
        say)."""
        with self.engine.begin() as tx:
            same_address = OrderRow.address_json == address.model_dump()
            if _move(tx, order_id, EventType.CARRIER_DISPATCHED, same_address):
                _record(
                    tx, order_id, EventType.CARRIER_DISPATCHED, {"address": address.model_dump()}
                )
                return True
            went_to = select(EventRow.payload_json["address"]).where(
                EventRow.order_id == order_id, EventRow.step == EventType.CARRIER_DISPATCHED
            )
            return bool(tx.scalar(went_to) == address.model_dump())

    def close(self, order: Order, run_id: str, end: OrderState, reason: str) -> OrderState:
        """End the order as cancelled or failed and give back what was charged, in one transaction,
        so that no charge can come between. Returns the state that the order then has: `end`, or, if
        the carrier already has the parcel, the one that says so.

        An order that was not even received is received first: what ends must have begun. Raises
        AnotherRunError as `receive` does."""
        event = EventType.ORDER_CANCELLED if end is OrderState.CANCELLED else EventType.ORDER_FAILED
        with self.engine.begin() as tx:
            _receive(tx, order, run_id)
            closed = tx.execute(
                update(OrderRow)
                .where(OrderRow.id == order.id, OrderRow.state.in_(BEFORE_DISPATCH))
                .values(state=end, updated_at=func.now())
            )
            if closed.rowcount:
                refunded = tx.execute(
                    update(PaymentRow)
                    .where(
                        PaymentRow.order_id == order.id, PaymentRow.status == PaymentStatus.CHARGED
                    )
                    .values(status=PaymentStatus.REFUNDED)
                    .returning(PaymentRow.payment_id, PaymentRow.amount)
                ).first()
                if refunded:
                    payload = {"payment_id": refunded.payment_id, "amount": str(refunded.amount)}
                    _record(tx, order.id, EventType.PAYMENT_REFUNDED, payload)
                _record(tx, order.id, event, {"reason": reason})
            return _state(tx, order.id)

    def note(self, order_id: str, event: EventType, number: int, payload: dict[str, Any]) -> None:
        """Record what happened to an order and changed nothing: a late signal, a failed dispatch.
        Once the order has ended, only a late signal is recorded: an attempt may come so late that
        its order was closed meanwhile."""
        late = event is EventType.LATE_SIGNAL
        with self.engine.begin() as tx:
            if _state(tx, order_id, lock=not late) not in TERMINAL or late:
                _record(tx, order_id, event, payload, number)

    # --- reading --------------------------------------------------------------------------------

    def order_states(self) -> dict[str, StoredState]:
        """Where every order stands, by its id."""
        query = select(OrderRow.id, OrderRow.state, OrderRow.updated_at)
        with self.engine.connect() as tx:
            tx.execute(TAKE_YOUR_TIME)
            return {
                row.id: StoredState(OrderState(row.state), row.updated_at)
                for row in tx.execute(query)
            }

    def rows(self, name: str, order_id: str | None = None) -> Sequence[dict[str, Any]]:
        """The rows of the table `name`, oldest first; of one order only, if asked."""
        rows = Base.metadata.tables[name].c
        # An event's number is given while its order's row is locked; its `ts` is when its
        # transaction began.
        query = select(*rows).order_by(*([] if name == "events" else [rows["created_at"]]), rows[0])
        if order_id is not None:
            query = query.where(rows["id" if name == "orders" else "order_id"] == order_id)
        with self.engine.connect() as tx:
            tx.execute(TAKE_YOUR_TIME)
            return [dict(row) for row in tx.execute(query).mappings()]


# --- the parts, each inside somebody's transaction -----------------------------------------------


def _receive(tx: Connection, order: Order, run_id: str) -> None:
    content = order.model_dump(mode="json")
    new = insert(OrderRow).values(
        id=order.id,
        state=OrderState.RECEIVED,
        items=content["items"],
        address_json=content["address"],
    )
    if tx.execute(new.on_conflict_do_nothing()).rowcount:
        payload = {"payment_id": order.payment_id, "run_id": run_id}
        _record(tx, order.id, EventType.ORDER_RECEIVED, payload)
        return
    first = select(EventRow.payload_json["run_id"].astext).where(
        EventRow.order_id == order.id, EventRow.step == EventType.ORDER_RECEIVED
    )
    if tx.scalar(first) != run_id:
        raise AnotherRunError(
            f"order {order.id} is already in this database "
            f"({_state(tx, order.id)}), from another run"
        )


def _move(tx: Connection, order_id: str, event: EventType, *also: ColumnElement[bool]) -> bool:
    """Whether this call moved the order. If it did not, an earlier attempt did or `also` did not
    hold; in any other state the step is refused."""
    before, after = MOVES[event]
    move = update(OrderRow).where(OrderRow.id == order_id, OrderRow.state == before, *also)
    if tx.execute(move.values(state=after, updated_at=func.now())).rowcount:
        return True
    # The state before the event: another attempt may commit both in between.
    state = _state(tx, order_id)
    if not (also and state is before) and not _happened(tx, order_id, event):
        raise RefusedError(f"{event} needs an order that is {before}, and {order_id} is {state}")
    return False


def _advance(
    tx: Connection, order_id: str, event: EventType, payload: dict[str, Any]
) -> OrderState:
    if _move(tx, order_id, event):
        _record(tx, order_id, event, payload)
    return MOVES[event][1]


def _step(event: EventType, number: int | None) -> str:
    return event if number is None else f"{event}#{number}"


def _record(
    tx: Connection,
    order_id: str,
    event: EventType,
    payload: dict[str, Any],
    number: int | None = None,
) -> bool:
    """Whether it is new."""
    row = insert(EventRow).values(
        order_id=order_id, type=event, step=_step(event, number), payload_json=payload
    )
    return bool(tx.execute(row.on_conflict_do_nothing()).rowcount)


def _happened(tx: Connection, order_id: str, event: EventType, number: int | None = None) -> bool:
    found = select(EventRow.id).where(
        EventRow.order_id == order_id, EventRow.step == _step(event, number)
    )
    return tx.scalar(found) is not None


def _state(tx: Connection, order_id: str, lock: bool = False) -> OrderState:
    """`lock`: nobody moves the order until this transaction has ended."""
    query = select(OrderRow.state).where(OrderRow.id == order_id)
    state = tx.scalar(query.with_for_update(key_share=True) if lock else query)
    if state is None:
        raise RefusedError(f"order {order_id} is not in the database")
    return OrderState(state)
