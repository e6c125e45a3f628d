"""Read the failed attempts from the workers' logs.

Temporal's history has only the last attempt of each step.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from order_lifecycle.lab.process import LabProcess
from order_lifecycle.lab.views.history import Span

if TYPE_CHECKING:
    import pandas as pd

TIMED_OUT = "OutsideTimeoutError"


@dataclass(frozen=True)
class FailedAttempt:
    """A failed attempt at a step, from one line of a worker's log."""

    workflow_id: str
    step: str
    attempt: int
    error: str
    ended: datetime
    took: float  # s

    @property
    def outcome(self) -> str:
        """How the attempt ended: "timed out" or "failed"."""
        return "timed out" if self.error.startswith(TIMED_OUT) else "failed"


def attempts(*workers: LabProcess) -> pd.DataFrame:
    """Return every attempt that failed in these workers, as a DataFrame with one row an attempt.

    The rows are in the order in which the attempts ended. `took` is in seconds.
    """
    import pandas as pd

    rows = [
        {
            "workflow": each.workflow_id,
            "step": each.step,
            "attempt": each.attempt,
            "outcome": each.outcome,
            "error": each.error.partition(": ")[0],
            "took": each.took,
        }
        for each in failed_attempts(workers)
    ]
    return pd.DataFrame(rows, columns=["workflow", "step", "attempt", "outcome", "error", "took"])


def failed_attempts(workers: Iterable[LabProcess]) -> list[FailedAttempt]:
    """Return every attempt that failed in these workers, in the order in which they ended."""
    found = []
    for line in (line for worker in workers for line in worker.log().splitlines()):
        # A line that Python writes before the log is set up, or as the process dies, is not JSON.
        said = json.loads(line) if line.startswith("{") else {}
        if "took" in said:
            error = said.get("error", said["event"])
            ended = datetime.fromisoformat(said["timestamp"])
            which = said["workflow_id"], said["step"], said["attempt"]
            found.append(FailedAttempt(*which, error, ended, said["took"]))
    return sorted(found, key=lambda each: each.ended)


def with_failed_attempts(
    spans: list[Span], began: datetime, failed: list[FailedAttempt]
) -> list[Span]:
    """Replace each span of retries by one span for each failed attempt.

    If the last attempt of a step failed too, its span gets the outcome from the log.

    Args:
        spans: The spans of an order, from Temporal's history.
        began: When the order was started.
        failed: The failed attempts of the workers.
    """
    found = []
    for span in spans:
        if span.kind == "step" and span.outcome == "failed":
            of_this_span = [each for each in failed if _belongs(each, span, began)]
            last = next((each for each in of_this_span if each.attempt == span.attempt), None)
            found.append(replace(span, outcome=last.outcome) if last else span)
            continue
        if span.kind != "retries":
            found.append(span)
            continue
        known = [_as_span(each, span, began) for each in failed if _belongs(each, span, began)]
        if len(known) < span.attempt:
            # A killed worker could not log its attempt, so the span of all retries stays as well.
            found.append(span)
        found += known
    return sorted(found, key=lambda span: span.queued)


def _belongs(each: FailedAttempt, span: Span, began: datetime) -> bool:
    ended = (each.ended - began).total_seconds()
    return (
        (each.workflow_id, each.step) == (span.workflow_id, span.step)
        and each.attempt <= span.attempt
        # An order can do a step twice, such as a change of address.
        and span.start <= ended
        and (span.end is None or ended <= span.end)
    )


def _as_span(each: FailedAttempt, retries: Span, began: datetime) -> Span:
    end = (each.ended - began).total_seconds()
    start = end - each.took
    when = replace(retries, queued=start, start=start, end=end)
    return replace(
        when, kind="attempt", outcome=each.outcome, attempt=each.attempt, note=each.error
    )
