"""The activity of the workflow that you write in notebook 09: a parcel comes back."""

from __future__ import annotations

from temporalio import activity


@activity.defn
def refund(order_id: str) -> None:
    """Give the money back."""
