"""What others ask of an order, and its record in the database: one thing at a time, and bounded,
whatever they send. docs/decisions/what_a_flood_can_do.md has the reason for each number."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from temporalio import workflow

from order_lifecycle.activities.order import OrderActivities
from order_lifecycle.domain import Address, EventType, Order, Policy
from order_lifecycle.workflows.attempts import reason, retry_forever, run_step

# Of the signals that come too late, the first ones get an event each, the rest one event together.
LATE_ONE_BY_ONE = 20
# So many changes of address may wait for their turn. Then the last one wins.
LONGEST_LINE = 10
# A fifth of the history at which Temporal terminates a workflow, past every refund.
LONGEST_HISTORY = 10_000  # events
LARGEST_HISTORY = 10_000_000  # bytes


def history_is_too_large() -> bool:
    """Return True if so much was sent to this workflow that it must end while it still can."""
    run = workflow.info()
    return (
        run.get_current_history_length() > LONGEST_HISTORY
        or run.get_current_history_size() > LARGEST_HISTORY
    )


@dataclass(eq=False)
class AddressChange:
    """A new address that somebody has asked for."""

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
        return not self._changes

    @property
    def complete(self) -> bool:
        """All is written down that gets an event of its own."""
        return not self._changes and not self._late

    def add_change(self, address: Address, by_signal: bool) -> AddressChange:
        """Queue a change of address. Of signals at the end of a line that is long enough, the last
        one wins. (Of Updates, Temporal lets ten of a workflow run at a time.)"""
        last = self._changes[-1] if len(self._changes) >= LONGEST_LINE else None
        if last is not None and by_signal and last.by_signal:
            last.address = address
            return last
        change = AddressChange(address, by_signal)
        self._changes.append(change)
        return change

    def add_late(self, what: str) -> None:
        """Remember that a signal came too late: its text, or only that there was one more."""
        self._late_in_all += 1
        if self._late_in_all <= LATE_ONE_BY_ONE:
            self._late.append(what)

    async def keep(self, received: Callable[[], bool]) -> None:
        """Write down what was added, one thing at a time, as soon as the order is `received`."""
        while True:
            await workflow.wait_condition(lambda: received() and not self.complete)
            if self._changes:
                await self._change_address(self._changes[0])
                self._changes.popleft()
            else:
                await self._note_late(self._late[0])
                self._late.popleft()

    async def note(self, event: EventType, text: str) -> None:
        """Record something that changed nothing."""
        key = self._next_key()
        await retry_forever(
            OrderActivities.note_event, self._order_id, event, key, text, policy=self._policy
        )

    def count_the_rest(self) -> None:
        """Let the last event say how many late signals have none of their own."""
        if (more := self._late_in_all - LATE_ONE_BY_ONE) > 0:
            self._late.append(f"{more} more signals came too late")

    async def _note_late(self, what: str) -> None:
        try:
            await self.note(EventType.LATE_SIGNAL, what)
        except Exception as error:  # no reason to hold up the order
            workflow.logger.warning("could not record a late signal: %s", reason(error))

    async def _change_address(self, change: AddressChange) -> None:
        key = self._next_key()
        try:
            # Without an end: an attempt whose answer is lost may have written the address down, and
            # only another one finds that out. Whoever asked is not told that it was refused when it
            # was not.
            await run_step(
                OrderActivities.change_address,
                *(self._order_id, key, change.address),
                policy=self._policy,
                until=None,
            )
            self.address = change.address
        except Exception as error:
            change.refusal = reason(error)
            if change.by_signal:
                self.add_late("update_address")
        change.done = True

    def _next_key(self) -> str:
        return f"{workflow.info().run_id}/{next(self._keys)}"
