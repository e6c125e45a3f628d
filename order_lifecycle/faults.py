"""The unreliable outside world that every step of an order calls: a warehouse, a payment provider,
a carrier.

As in the assignment this project began with, a call may fail at once, hang, or work. What it does
is decided by (seed, workflow, step, attempt) and by nothing else, so that a lesson fails in the
same way each time it is run.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from order_lifecycle.domain import RefusedError


class OutsideError(Exception):
    """The outside world answered with an error. Trying again may help."""


class OutsideTimeoutError(Exception):
    """The outside world did not answer in time. It may or may not have done its part."""


HANG_SECONDS = 300.0

# The steps that call the outside world, by their activities' names. (That a person approved is only
# written down.)
STEPS = (
    "receive_order",
    "validate_order",
    "charge_payment",
    "prepare_package",
    "dispatch_carrier",
    "ship_order",
    "close_order",
)


@dataclass(frozen=True)
class Faults:
    """How often a call fails and hangs, as shares of 1; and which steps, by name, never work. The
    default: it always works."""

    fail: float = 0.0
    hang: float = 0.0
    seed: int = 0
    always_fail: frozenset[str] = field(default_factory=frozenset)

    def call(
        self,
        workflow_id: str,
        step: str,
        attempt: int,
        limit: float,
        wait: Callable[[float], object],
    ) -> None:
        """One call to the outside world, of at most `limit` seconds; `wait` lets time pass.

        Raises OutsideError or OutsideTimeoutError (trying again may help), or RefusedError (it will
        not)."""
        if step in self.always_fail:
            raise RefusedError(f"{step} does not work, and will not")
        # Seeded with text, random.Random is the same on every machine and in every process.
        draw = random.Random(f"{self.seed}/{workflow_id}/{step}/{attempt}").random()
        if draw < self.fail:
            raise OutsideError(f"{step} failed, attempt {attempt}")
        if draw < self.fail + self.hang:
            wait(min(limit, HANG_SECONDS))
            raise OutsideTimeoutError(
                f"{step} did not answer within {limit:g} s, attempt {attempt}"
            )
