"""What every activity needs: the store, and one call to the outside world."""

from __future__ import annotations

from temporalio import activity

from order_lifecycle.db.store import Store
from order_lifecycle.faults import Faults

# The share of an attempt's time that the call to the outside world may take. The rest is for the
# transaction after it. The start-to-close timeout ends a call that ignores this limit.
CALL_SHARE = 0.8


class Activities:
    """Activities that share one database. A worker registers the methods of one instance."""

    def __init__(self, store: Store, faults: Faults | None = None) -> None:
        self._store = store
        self._faults = faults or Faults()

    def _call_outside(self) -> None:
        """Ask the outside world to do this step. Raise what `Faults.call` raises."""
        info = activity.info()
        timeout = info.start_to_close_timeout
        limit = (timeout.total_seconds() if timeout else 1.0) * CALL_SHARE
        wait = activity.wait_for_cancelled_sync
        self._faults.call(info.workflow_id or "", info.activity_type, info.attempt, limit, wait)
