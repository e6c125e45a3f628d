"""A small order, and the same order after its code has changed: each module is what a deployment
would bring.

`v1_initial` is what runs today. `v2_breaking` does one thing more. `v2_patched` does it for new
orders only. `v3_patch_deprecated` is what `v2_patched` becomes when the orders of `v1_initial` have
ended.
"""

from __future__ import annotations

from temporalio import activity

QUEUE = "lesson-deploy"


@activity.defn
def receive(order_id: str) -> None:
    """Write the order down."""


@activity.defn
def reserve(order_id: str) -> None:
    """Put the goods aside, so that nobody else buys them while the order waits for its review."""


@activity.defn
def charge(order_id: str) -> None:
    """Take the money."""


@activity.defn
def pack(order_id: str) -> None:
    """Put the goods into a box."""


@activity.defn
def ship(order_id: str) -> None:
    """Send the parcel."""


ACTIVITIES = [receive, reserve, charge, pack, ship]
