"""How an activity is run: its timeouts and retries, its answer, and the words of its failure."""

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

# An attempt may take at most this part of the time that is left, so that a step can be retried.
ATTEMPTS_IN_BUDGET = 40
# Most failures are short: 20 retries take 2 s together. Later retries wait longer.
BACKOFF = 1.2

# The errors of a bug, for failure_exception_types. Without this list a bug would fail the workflow
# task. Temporal retries that for ever, so the order would neither end nor hear its signals.
# The list is not `Exception`, because NondeterminismError is one. After a breaking change of the
# code, each running order would then fail without its refund. Now it waits for a worker that fits.
BUGS = [
    *(ArithmeticError, AssertionError, AttributeError, LookupError, NameError),
    *(OSError, RuntimeError, TypeError, ValueError),
]


def activity_options(
    policy: Policy, deadline: datetime | None, refusable: bool = True
) -> workflow.ActivityConfig:
    """Return the timeouts and the retry policy of one activity.

    All attempts together end at `deadline`; None means no end. The less time is left, the shorter
    each attempt is. With `refusable=False` Temporal retries even after `RefusedError`, as a refund
    must. It never retries after `AnotherRunError`: that order belongs to another run.
    """
    left = deadline - workflow.now() if deadline else policy.budget
    # Temporal compares names, so it does not know that AnotherRunError is a RefusedError.
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
        # A cancelled order does not wait for an attempt that hangs. The attempt may still reach the
        # database, but the order's state there has changed by then, so it changes nothing. (Not
        # ABANDON: if an abandoned attempt fails later, the order hangs.)
        cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
    )
    if deadline is not None:
        # Zero would mean "no limit".
        options["schedule_to_close_timeout"] = max(left, timedelta(milliseconds=1))
    return options


async def execute(
    activity: Callable[..., T],
    *args: Any,
    policy: Policy,
    deadline: datetime | None,
    refusable: bool = True,
) -> T:
    """Run an activity, and return its answer.

    Why by name, and not with `execute_activity_method`: a worker of another version may answer
    something that this workflow cannot read. The SDK would read the answer outside of our code, and
    fail the workflow there, without its refund. So we ask for the raw answer and read it here. An
    answer that cannot be read is then a failed step like any other.

    Raises:
        ActivityError: The activity failed for good, timed out or was cancelled.
        ValueError, RuntimeError: The answer cannot be read.
    """
    answer = await workflow.execute_activity(
        activity.__name__,
        args=args,
        result_type=RawValue,
        **activity_options(policy, deadline, refusable),
    )
    returned = get_type_hints(activity)["return"]
    read: T = workflow.payload_converter().from_payload(answer.payload, returned)
    return read


async def retry_forever(activity: Callable[..., T], *args: Any, policy: Policy) -> T:
    """Run an activity with unlimited retries, even after `RefusedError`, and return its answer."""
    return await execute(activity, *args, policy=policy, deadline=None, refusable=False)


def reason(error: BaseException) -> str:
    """Return the message of the innermost cause: Temporal wraps each failure in one of its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return clean_reason(getattr(error, "message", None) or str(error) or type(error).__name__)
