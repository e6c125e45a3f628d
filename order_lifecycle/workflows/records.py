"""What others send to an order, and how it gets into the database: in turn, and bounded.

docs/decisions/what_a_flood_can_do.md has the reason for each number.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import count

from temporalio import workflow

from order_lifecycle.activities.order import OrderActivities
from order_lifecycle.domain import Address, EventType, Order, Policy
from order_lifecycle.workflows import attempts
from order_lifecycle.workflows.progress import Progress

# So many late signals get an event each. The rest share one event.
LATE_ONE_BY_ONE = 20
# So many changes of address may wait for their turn. After that, the last one wins.
LONGEST_LINE = 10
# A fifth of the history at which Temporal terminates a workflow, without its refund.
LONGEST_HISTORY = 10_000  # events
LARGEST_HISTORY = 10_000_000  # bytes


def history_is_too_large() -> bool:
    """Return True if this workflow must end soon, before Temporal terminates it."""
    run = workflow.info()
    return (
        run.get_current_history_length() > LONGEST_HISTORY
        or run.get_current_history_size() > LARGEST_HISTORY
    )


@dataclass(eq=False)
class AddressChange:
    """A new address that somebody has asked for, and what became of it."""

    address: Address
    by_signal: bool
    done: bool = False
    refusal: str | None = None


class Records:
    """The changes of address and the late signals of one order.

    Each event gets an idempotency key, "<run id>/<n>". Attempts that repeat a write have the same
    key, so it is written once. A reset gives the workflow a new run ID and counts from 1 again, so
    an event of the new run is never taken for one of the run before.
    """

    def __init__(self, order: Order, policy: Policy) -> None:
        self.address = order.address
        self._order_id = order.id
        self._policy = policy
        self._changes: deque[AddressChange] = deque()
        self._late: deque[str] = deque()
        self._late_in_all = 0
        self._keys = count(1)

    @property
    def no_change_waits(self) -> bool:
        """Return True if the database has every change of address."""
        return not self._changes

    @property
    def complete(self) -> bool:
        """Return True if nothing waits to be recorded."""
        return not self._changes and not self._late

    def add_change(self, address: Address, by_signal: bool) -> AddressChange:
        """Queue a change of address.

        If the queue is full, a signal replaces the signal before it. (Updates need no such rule:
        Temporal runs at most ten at a time.)
        """
        last = self._changes[-1] if len(self._changes) >= LONGEST_LINE else None
        if last is not None and by_signal and last.by_signal:
            last.address = address
            return last
        change = AddressChange(address, by_signal)
        self._changes.append(change)
        return change

    def add_late(self, what: str) -> None:
        """Queue an event for a late signal. After the first ones, only count them."""
        self._late_in_all += 1
        if self._late_in_all <= LATE_ONE_BY_ONE:
            self._late.append(what)

    async def keep(self, progress: Progress) -> None:
        """Record what is queued, one thing at a time, as soon as the order is in the database."""
        while True:
            await workflow.wait_condition(lambda: progress.state is not None and not self.complete)
            if self._changes:
                await self._change_address(self._changes[0])
                self._changes.popleft()
            else:
                await self._note_late(self._late[0])
                self._late.popleft()

    async def note(self, event: EventType, text: str) -> None:
        """Record an event that does not change the order."""
        await attempts.retry_forever(
            OrderActivities.note_event,
            *(self._order_id, event, self._next_key(), text),
            policy=self._policy,
        )

    def count_the_rest(self) -> None:
        """Queue one event with the number of late signals that have none of their own."""
        if (more := self._late_in_all - LATE_ONE_BY_ONE) > 0:
            self._late.append(f"{more} more signals came too late")

    async def _note_late(self, what: str) -> None:
        try:
            await self.note(EventType.LATE_SIGNAL, what)
        except Exception as error:  # a note must not hold up the order
            workflow.logger.warning("could not record a late signal: %s", attempts.reason(error))

    async def _change_address(self, change: AddressChange) -> None:
        try:
            # No deadline: an attempt may write the address and lose its answer. Only another
            # attempt finds that out. So nobody hears "refused" of a change that was made.
            await attempts.execute(
                OrderActivities.change_address,
                *(self._order_id, self._next_key(), change.address),
                policy=self._policy,
                deadline=None,
            )
            self.address = change.address
        except Exception as error:
            change.refusal = attempts.reason(error)
            if change.by_signal:
                self.add_late("update_address")
        change.done = True

    def _next_key(self) -> str:
        return f"{workflow.info().run_id}/{next(self._keys)}"
