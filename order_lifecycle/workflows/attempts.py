"""How long a step may take, how often it is tried, and what its failure says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar, get_type_hints

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy

from order_lifecycle.domain import (
    LONGEST_RETRY_INTERVAL,
    SHORTEST_ATTEMPT,
    AnotherRunError,
    Policy,
    RefusedError,
    clean_reason,
)

T = TypeVar("T")

# Of the time that an order has left, the part that one attempt may take: enough for forty.
ATTEMPTS_IN_BUDGET = 40
# Quick at first, as most failures are short (20 retries take 2 s together), and patient in the end.
BACKOFF = 1.2

# What a bug raises, for failure_exception_types: without it, a bug would fail the workflow task,
# which Temporal then retries for ever, and the order would neither end nor listen. Not Exception,
# of which NondeterminismError is one: when the code has changed so that running orders cannot go on
# with it, each of them would fail, past its refund, instead of waiting for a worker that can.
BUGS = [
    *(ArithmeticError, AssertionError, AttributeError, LookupError, NameError),
    *(OSError, RuntimeError, TypeError, ValueError),
]


def attempts(
    policy: Policy, until: datetime | None, refusable: bool = True
) -> workflow.ActivityConfig:
    """The options of one step. All its attempts together have until `until`, and the less is left,
    the shorter each of them is; with None there is no end. What is not `refusable` must happen,
    such as a refund: it is tried again after a refusal too, unless the order is another's."""
    left = until - workflow.now() if until else policy.budget
    # Both by name: Temporal does not know that one is a subclass of the other.
    final = [AnotherRunError.__name__]
    if refusable:
        final.append(RefusedError.__name__)
    options = workflow.ActivityConfig(
        start_to_close_timeout=min(
            policy.attempt_timeout, max(left / ATTEMPTS_IN_BUDGET, SHORTEST_ATTEMPT)
        ),
        retry_policy=RetryPolicy(
            initial_interval=policy.retry_interval,
            backoff_coefficient=BACKOFF,
            maximum_interval=LONGEST_RETRY_INTERVAL,
            non_retryable_error_types=final,
        ),
        # A cancelled order does not wait for an attempt that may hang, and cannot call it back
        # either. What the attempt still does meets the state that the order has by then in the
        # database. (Not ABANDON: with it, an attempt that fails after the cancel leaves a history
        # that the SDK cannot go on with, and the order hangs.)
        cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
    )
    if until is not None:
        # Zero would mean "no limit".
        options["schedule_to_close_timeout"] = max(left, timedelta(milliseconds=1))
    return options


async def run_step(
    activity: Callable[..., T],
    *args: Any,
    policy: Policy,
    until: datetime | None,
    refusable: bool = True,
) -> T:
    """Run an activity of the order worker, and return its answer."""
    answer = await workflow.execute_activity(
        activity.__name__,
        args=args,
        result_type=RawValue,
        **attempts(policy, until, refusable),
    )
    # Read here, so that an answer which makes no sense (from a worker of another version) is a
    # step that failed. The SDK reads it outside of the story, and would fail the workflow there
    # and then, past every refund.
    read: T = workflow.payload_converter().from_payload(
        answer.payload, get_type_hints(activity)["return"]
    )
    return read


async def retry_forever(activity: Callable[..., T], *args: Any, policy: Policy) -> T:
    """Run an activity until it succeeds."""
    return await run_step(activity, *args, policy=policy, until=None, refusable=False)


def reason(error: BaseException) -> str:
    """What went wrong, in the words of the innermost cause: Temporal wraps each failure in one of
    its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return clean_reason(getattr(error, "message", None) or str(error) or type(error).__name__)
