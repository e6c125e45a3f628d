"""A small order's workflow, and its next versions. Each module is one deployment.

`v1_initial` runs today. `v2_breaking` adds a step for all orders, `v2_patched` for new orders only.
`v3_patch_deprecated` follows `v2_patched`, when all orders of `v1_initial` have ended.
"""

from __future__ import annotations

from temporalio import activity

QUEUE = "lesson-deploy"


@activity.defn
def receive(order_id: str) -> None:
    """Record the order."""


@activity.defn
def reserve(order_id: str) -> None:
    """Reserve the goods while the order waits for its review."""


@activity.defn
def charge(order_id: str) -> None:
    """Charge the order."""


@activity.defn
def pack(order_id: str) -> None:
    """Put the goods into a box."""


@activity.defn
def ship(order_id: str) -> None:
    """Send the parcel."""


ACTIVITIES = [receive, reserve, charge, pack, ship]
