"""What ShippingWorkflow may do to the world."""

from __future__ import annotations

from temporalio import activity

from order_lifecycle.activities.base import Activities
from order_lifecycle.domain import Address, EventType, OrderState


class AddressChangedError(Exception):
    """The order's address changed during the call to the carrier. A retry uses the new one."""


class ShippingActivities(Activities):
    """The steps of one try at shipping. Temporal retries them, except after `RefusedError`."""

    @activity.defn
    def prepare_package(self, order_id: str) -> OrderState:
        """Pack the items, and record it."""
        self._call_outside()
        return self._store.advance(order_id, EventType.PACKAGE_PREPARED)

    @activity.defn
    def dispatch_carrier(self, order_id: str) -> Address:
        """Hand the parcel to the carrier, and return the address that it goes to.

        Raises:
            AddressChangedError: The address changed meanwhile.
            RefusedError: The order is not packed, or it has ended.
        """
        address = self._store.address(order_id)
        self._call_outside()
        if not self._store.dispatch(order_id, address):
            raise AddressChangedError(f"the address of order {order_id} has changed")
        return address
