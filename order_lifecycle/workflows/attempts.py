"""How long a step may take, how often it is tried, and what its failure says: the same in both workflows."""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from order_lifecycle.domain import Policy, Refused


def attempts(policy: Policy, until: datetime | None = None) -> workflow.ActivityConfig:
    """The options of one step: each attempt has `policy.attempt_timeout`, and all of them together have until `until`.
    With None there is no end: for what must happen, such as a refund."""
    options = workflow.ActivityConfig(
        start_to_close_timeout=policy.attempt_timeout,
        retry_policy=RetryPolicy(
            initial_interval=policy.retry_interval,
            maximum_interval=timedelta(seconds=1),
            non_retryable_error_types=[Refused.__name__],
        ),
        # A cancelled order does not wait for an attempt that may hang, and cannot call it back either. What the
        # attempt still does meets the state that the order has by then in the database.
        cancellation_type=workflow.ActivityCancellationType.ABANDON,
    )
    if until is not None:
        # Zero would mean "no limit".
        options["schedule_to_close_timeout"] = max(until - workflow.now(), timedelta(milliseconds=1))
    return options


def reason(error: BaseException) -> str:
    """What went wrong, in the words of the innermost cause: Temporal wraps each failure in one of its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "message", None) or str(error) or type(error).__name__
