"""Change an order's state and write its event, in one transaction that is safe to repeat.

Every UPDATE names the state that it starts from. If two attempts at a step race, or a step and a
cancel, PostgreSQL's row lock lets one pass. The other then finds that the state has changed.

A step may read before it writes, in three cases only:

- the value cannot change, such as the amount of a payment;
- the row is locked, as in `note`;
- the answer is only an early hint. `validate` looks whether another order has the payment ID, but
  the primary key of the payments decides.
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

from order_lifecycle.db.connection import LONG_TRANSACTION
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
    """The state of an order in the database, and the time of the last change of its row."""

    state: OrderState
    since: datetime


class Store:
    """The orders, payments and events of one database.

    Every method may raise two errors after which a retry may help: `sqlalchemy.exc.DBAPIError` (the
    database cannot be reached, or it ended the transaction) and `sqlalchemy.exc.TimeoutError` (no
    connection was free). After a `RefusedError` a retry cannot help.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    # --- one method for each kind of step -------------------------------------------------------

    def receive(self, order: Order, run_id: str) -> OrderState:
        """Insert the order as received.

        Raises:
            AnotherRunError: A workflow run other than `run_id` has inserted an order with this ID.
        """
        with self.engine.begin() as tx:
            _receive(tx, order, run_id)
        return OrderState.RECEIVED

    def advance(
        self, order_id: str, event: EventType, payload: dict[str, Any] | None = None
    ) -> OrderState:
        """Move the order to the state that follows `event`, and record the event.

        Raises:
            RefusedError: The order is not in the state that the event starts from.
        """
        with self.engine.begin() as tx:
            return _advance(tx, order_id, event, payload or {})

    def validate(self, order: Order) -> OrderState:
        """Move a received order to validated, then to awaiting review.

        Raises:
            RefusedError: The payment ID belongs to another order.
        """
        with self.engine.begin() as tx:
            owner = select(PaymentRow.order_id).where(PaymentRow.payment_id == order.payment_id)
            if tx.scalar(owner) not in (None, order.id):
                raise RefusedError(f"payment {order.payment_id} belongs to another order")
            _advance(tx, order.id, EventType.ORDER_VALIDATED, {})
            return _advance(tx, order.id, EventType.REVIEW_REQUESTED, {})

    def charge(self, order_id: str, payment_id: str) -> Decimal:
        """Charge the sum of the order's items once, and return it.

        `payment_id` is the idempotency key: a repeated call returns the same amount and charges
        nothing.

        Raises:
            RefusedError: The order is not approved (it may have been cancelled meanwhile), or
                `payment_id` belongs to another order.
        """
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
            if amount is None:  # an earlier attempt has charged, or another order has the payment
                amount = tx.scalar(
                    select(PaymentRow.amount).where(
                        PaymentRow.payment_id == payment_id, PaymentRow.order_id == order_id
                    )
                )
            if amount is None:
                raise RefusedError(f"payment {payment_id} does not belong to order {order_id}")
            payload = {"payment_id": payment_id, "amount": str(amount)}
            _record(tx, order_id, EventType.PAYMENT_CHARGED, payload)
            return amount

    def address(self, order_id: str) -> Address:
        """Return the order's current address.

        Raises:
            RefusedError: The order is not in the database.
        """
        with self.engine.connect() as tx:
            address = tx.scalar(select(OrderRow.address_json).where(OrderRow.id == order_id))
            if address is None:
                raise RefusedError(f"order {order_id} is not in the database")
            return Address.model_validate(address)

    def change_address(self, order_id: str, key: str, address: Address) -> OrderState:
        """Change the order's address, and return the order's state.

        `key` is the idempotency key of this change, so that a retry changes nothing.

        Raises:
            RefusedError: The carrier already has the parcel, or the order has ended.
        """
        with self.engine.begin() as tx:
            change = update(OrderRow).where(
                OrderRow.id == order_id, OrderRow.state.in_(BEFORE_DISPATCH)
            )
            if tx.execute(change.values(updated_at=func.now())).rowcount:
                # Change the row only if the event is new: an attempt that hung must not undo a
                # newer change.
                if _record(tx, order_id, EventType.ADDRESS_CHANGED, address.model_dump(), key):
                    tx.execute(change.values(address_json=address.model_dump()))
            elif not _happened(tx, order_id, EventType.ADDRESS_CHANGED, key):
                raise RefusedError(
                    f"too late to change the address: the order is {_state(tx, order_id)}"
                )
            return _state(tx, order_id)

    def dispatch(self, order_id: str, address: Address) -> bool:
        """Move a packed order to dispatched, if its address is still `address`.

        Returns:
            True if the parcel goes to `address`, False if the order has another address now.

        Raises:
            RefusedError: The order is not packed; it may have been cancelled meanwhile.
        """
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
        """End the order as `end` (cancelled or failed), and refund its charge.

        Both happen in one transaction, so no charge can come between them. An order that is not in
        the database yet is first inserted as received.

        Returns:
            The order's state afterwards. It is not `end` if the carrier already has the parcel.

        Raises:
            AnotherRunError: As for `receive`.
        """
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

    def note(self, order_id: str, event: EventType, key: str, payload: dict[str, Any]) -> None:
        """Record an event that changes no state, such as a late signal or a failed dispatch.

        `key` is the idempotency key of this event, so that a retry records nothing.

        After the end of the order, record only a late signal. The attempt that records a failed
        dispatch may run so late that the order was closed meanwhile.
        """
        late = event is EventType.LATE_SIGNAL
        with self.engine.begin() as tx:
            if _state(tx, order_id, lock=not late) not in TERMINAL or late:
                _record(tx, order_id, event, payload, key)

    # --- reading --------------------------------------------------------------------------------

    def order_states(self) -> dict[str, StoredState]:
        """Return the state of every order, by its ID."""
        query = select(OrderRow.id, OrderRow.state, OrderRow.updated_at)
        with self.engine.connect() as tx:
            tx.execute(LONG_TRANSACTION)
            return {
                row.id: StoredState(OrderState(row.state), row.updated_at)
                for row in tx.execute(query)
            }

    def rows(self, name: str, order_id: str | None = None) -> Sequence[dict[str, Any]]:
        """Return the rows of the table `name`, oldest first, of all orders or of one."""
        columns = Base.metadata.tables[name].c
        # Sort events by ID, not by `ts`: an event gets its ID while its order's row is locked, but
        # `ts` is when its transaction began.
        by_time = [] if name == "events" else [columns["created_at"]]
        query = select(*columns).order_by(*by_time, columns[0])
        if order_id is not None:
            query = query.where(columns["id" if name == "orders" else "order_id"] == order_id)
        with self.engine.connect() as tx:
            tx.execute(LONG_TRANSACTION)
            return [dict(row) for row in tx.execute(query).mappings()]


# --- the parts of a step, each inside the transaction of its caller ------------------------------


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
    """Return True if this call changed the order's state.

    False means that an earlier attempt already did, or that the condition `also` does not hold.

    Raises:
        RefusedError: The order is in another state than the event starts from.
    """
    before, after = MOVES[event]
    move = update(OrderRow).where(OrderRow.id == order_id, OrderRow.state == before, *also)
    if tx.execute(move.values(state=after, updated_at=func.now())).rowcount:
        return True
    # Read the state before the event: another attempt may commit both between the two reads.
    state = _state(tx, order_id)
    if not (also and state is before) and not _happened(tx, order_id, event):
        raise RefusedError(f"order {order_id} is {state}, and {event} needs one that is {before}")
    return False


def _advance(
    tx: Connection, order_id: str, event: EventType, payload: dict[str, Any]
) -> OrderState:
    if _move(tx, order_id, event):
        _record(tx, order_id, event, payload)
    return MOVES[event][1]


def _step(event: EventType, key: str | None) -> str:
    return event if key is None else f"{event}#{key}"


def _record(
    tx: Connection,
    order_id: str,
    event: EventType,
    payload: dict[str, Any],
    key: str | None = None,
) -> bool:
    """Insert the event. Return False if an earlier attempt has already done so."""
    row = insert(EventRow).values(
        order_id=order_id, type=event, step=_step(event, key), payload_json=payload
    )
    return bool(tx.execute(row.on_conflict_do_nothing()).rowcount)


def _happened(tx: Connection, order_id: str, event: EventType, key: str | None = None) -> bool:
    found = select(EventRow.id).where(
        EventRow.order_id == order_id, EventRow.step == _step(event, key)
    )
    return tx.scalar(found) is not None


def _state(tx: Connection, order_id: str, lock: bool = False) -> OrderState:
    """Return the order's state; with `lock`, it cannot change until this transaction ends."""
    query = select(OrderRow.state).where(OrderRow.id == order_id)
    state = tx.scalar(query.with_for_update(key_share=True) if lock else query)
    if state is None:
        raise RefusedError(f"order {order_id} is not in the database")
    return OrderState(state)
