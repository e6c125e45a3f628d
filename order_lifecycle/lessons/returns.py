"""What the workflow of a parcel that comes back may do to the world. To write that workflow is an
exercise of 09."""

from __future__ import annotations

from temporalio import activity


@activity.defn
def refund(order_id: str) -> None:
    """Give the money back."""
