"""Simulate the unreliable outside world: a warehouse, a payment provider, a carrier.

A call to it may succeed, fail at once, or hang. Only the seed, the workflow, the step and the
attempt decide which, so that failures are reproducible.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from order_lifecycle.domain import RefusedError


class OutsideError(Exception):
    """The outside world answered with an error. A retry may help."""


class OutsideTimeoutError(Exception):
    """The outside world did not answer in time, so it is unknown whether it did the work."""


HANG_SECONDS = 300.0

# The activities that call the outside world. The others, such as approve_order, only write to the
# database.
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
    """How often calls to the outside world fail. By default, no call fails.

    `fail` and `hang` are shares of all calls, from 0 to 1. `seed` decides which calls these are.
    `always_fail` has the names of steps that are refused every time.
    """

    fail: float = 0.0
    hang: float = 0.0
    seed: int = 0
    always_fail: frozenset[str] = field(default_factory=frozenset)

    def call(
        self,
        workflow_id: str,
        step: str,
        attempt: int,
        timeout: float,
        wait: Callable[[float], object],
    ) -> None:
        """Call the outside world for one attempt at a step.

        A call that hangs waits with `wait(seconds)` until `timeout`, also in seconds.

        Raises:
            OutsideError: The call failed. A retry may help.
            OutsideTimeoutError: The call hung. A retry may help.
            RefusedError: This step never works. A retry does not help.
        """
        if step in self.always_fail:
            raise RefusedError(f"{step} does not work, and will not")
        # A text as seed gives the same numbers on every machine and in every process.
        draw = random.Random(f"{self.seed}/{workflow_id}/{step}/{attempt}").random()
        if draw < self.fail:
            raise OutsideError(f"{step} failed, attempt {attempt}")
        if draw < self.fail + self.hang:
            wait(min(timeout, HANG_SECONDS))
            raise OutsideTimeoutError(
                f"{step} did not answer within {timeout:g} s, attempt {attempt}"
            )
