"""The three tables. What the database can enforce, it does: a bug in Python cannot charge twice."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Numeric,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from order_lifecycle.domain import EventType, OrderState, PaymentStatus


class Base(DeclarativeBase):
    type_annotation_map: ClassVar = {
        datetime: DateTime(timezone=True),
        Decimal: Numeric(10, 2),
        str: Text,
        dict[str, Any]: JSONB,
        list[dict[str, Any]]: JSONB,
    }


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(value.value) for value in values)})"


class OrderRow(Base):
    """Only its state and its address change, by triggers (see the second migration), and the
    address only until the carrier has the parcel."""

    __tablename__ = "orders"
    __table_args__ = (
        CheckConstraint(_one_of("state", OrderState), name="orders_state_is_known"),
        CheckConstraint(
            "jsonb_typeof(items) = 'array' AND items <> '[]'", name="orders_items_is_a_list"
        ),
        Index("orders_by_state", "state", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    items: Mapped[list[dict[str, Any]]]
    address_json: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class PaymentRow(Base):
    """One row an order, ever: it is charged, and it may be refunded.

    Triggers (see the first migration) add what a CHECK cannot say: the amount is the sum of the
    order's items, an order has a live charge from `charged` to `shipped` and at no other time, and
    nobody deletes a payment, or changes its id, its order or its amount.
    """

    __tablename__ = "payments"
    __table_args__ = (
        CheckConstraint(_one_of("status", PaymentStatus), name="payments_status_is_known"),
        CheckConstraint("amount >= 0", name="payments_amount_is_not_negative"),
        Index("payments_one_an_order", "order_id", unique=True),
    )

    payment_id: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"))
    status: Mapped[str]
    amount: Mapped[Decimal]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class EventRow(Base):
    """The audit trail. `step` is what makes a retry leave no second event: a step of an order has
    one event."""

    __tablename__ = "events"
    __table_args__ = (
        CheckConstraint(_one_of("type", EventType), name="events_type_is_known"),
        CheckConstraint(
            "step = type OR starts_with(step, type || '#')", name="events_step_is_of_its_type"
        ),
        Index("events_one_a_step", "order_id", "step", unique=True),
        Index("events_by_order", "order_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id"))
    type: Mapped[str]
    step: Mapped[str]
    payload_json: Mapped[dict[str, Any]]
    ts: Mapped[datetime] = mapped_column(server_default=func.now())
