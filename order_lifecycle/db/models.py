"""The three tables, with the rules that PostgreSQL enforces: a bug in Python cannot charge twice.

Triggers add the rules that a CHECK cannot express: see migrations/versions.
"""

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
    """The base of the three tables: which PostgreSQL type each Python type becomes."""

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
    """An order: its items, its address and its state.

    Triggers of the second migration let only the state and the address change, and the address only
    until the carrier has the parcel.
    """

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
    """The one payment of an order: it begins as charged, and may be refunded.

    Triggers of the first migration enforce that:

    - the amount is the sum of the order's items;
    - an order has a charge that is not refunded in the states from `charged` to `shipped`, and in
      no other state;
    - a payment is never deleted, and its ID, its order and its amount never change.
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
    """An event of the audit trail.

    `step` is the event's type, with a number if the type can happen again (`address_changed#2`).
    Each step of an order has one event, so a retry of a step adds no second one.
    """

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
