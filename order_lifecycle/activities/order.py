"""What OrderWorkflow may do to the world: calls to others, and transactions in the database.

Each activity is safe to repeat, because Temporal runs it at least once.
"""

from __future__ import annotations

from temporalio import activity

from order_lifecycle.activities.base import Activities
from order_lifecycle.domain import Address, EventType, Order, OrderState


class OrderActivities(Activities):
    """The steps of an order.

    Temporal retries a step that fails, except after `RefusedError` and `AnotherRunError`: those are
    final answers of the database (see workflows/attempts.py).
    """

    @activity.defn
    def receive_order(self, order: Order, run_id: str) -> OrderState:
        """Insert the order, as owned by this run of the workflow."""
        self._call_outside()
        return self._store.receive(order, run_id)

    @activity.defn
    def validate_order(self, order: Order) -> OrderState:
        """Check the order with the outside world, and ask for its review."""
        self._call_outside()
        return self._store.validate(order)

    @activity.defn
    def approve_order(self, order_id: str) -> OrderState:
        """Record that a person approved."""
        return self._store.advance(order_id, EventType.ORDER_APPROVED)

    @activity.defn
    def charge_payment(self, order: Order) -> OrderState:
        """Charge the sum of the items."""
        # A real shop calls its payment provider here, with payment_id as the idempotency key.
        self._call_outside()
        self._store.charge(order.id, order.payment_id)
        return OrderState.CHARGED

    @activity.defn
    def ship_order(self, order_id: str) -> OrderState:
        """Record that the parcel is on its way, the last step."""
        self._call_outside()
        return self._store.advance(order_id, EventType.ORDER_SHIPPED)

    @activity.defn
    def change_address(self, order_id: str, key: str, address: Address) -> OrderState:
        """Send the parcel to another address. `key` is the idempotency key of this change.

        Raises:
            RefusedError: The carrier already has the parcel.
        """
        return self._store.change_address(order_id, key, address)

    @activity.defn
    def close_order(self, order: Order, run_id: str, end: OrderState, reason: str) -> OrderState:
        """Compensate: end the order as cancelled or failed, and refund its charge.

        Return the state that the order then has. It is another one than `end` if the carrier
        already has the parcel.
        """
        self._call_outside()
        return self._store.close(order, run_id, end, reason)

    @activity.defn
    def note_event(self, order_id: str, event: EventType, key: str, text: str) -> None:
        """Record an event that does not change the order, such as a late signal.

        `key` is the idempotency key of this event.
        """
        self._store.note(order_id, event, key, {"reason": text})
