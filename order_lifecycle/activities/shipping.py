"""What ShippingWorkflow may do to the world."""

from __future__ import annotations

from temporalio import activity

from order_lifecycle.activities.base import Activities
from order_lifecycle.domain import Address, EventType, OrderState


class AddressChangedError(Exception):
    """The order's address changed while the carrier was being called. Trying again sends it to the
    new one."""


class ShippingActivities(Activities):
    """The steps of one try at shipping. `RefusedError` is final, everything else is tried again."""

    @activity.defn
    def prepare_package(self, order_id: str) -> OrderState:
        """Pack the items."""
        self._call_outside()
        return self._store.advance(order_id, EventType.PACKAGE_PREPARED)

    @activity.defn
    def dispatch_carrier(self, order_id: str) -> Address:
        """Hand the parcel to the carrier. Returns the address that it goes to."""
        address = self._store.address(order_id)
        self._call_outside()
        if not self._store.dispatch(order_id, address):
            raise AddressChangedError(f"order {order_id} goes elsewhere now")
        return address
