"""The attempts that failed, from the logs of the workers: Temporal's history has only the last one
of each step."""

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
    """One line of a worker's log."""

    workflow_id: str
    step: str
    attempt: int
    error: str
    ended: datetime
    took: float  # s

    @property
    def outcome(self) -> str:
        return "timed out" if self.error.startswith(TIMED_OUT) else "failed"


def attempts(*workers: LabProcess) -> pd.DataFrame:
    """Every attempt that failed in these workers, in order: of which workflow and step, what
    happened, and how many seconds it took."""
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
    found = []
    for line in (line for worker in workers for line in worker.log().splitlines()):
        # What a process says before its log is set up, or as it dies, is not JSON.
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
    """`spans`, with one span for each attempt that failed before the last, instead of one for all
    of them; and if the last one failed too, how."""
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
            # A worker that was killed could not say what became of its attempt.
            found.append(span)
        found += known
    return sorted(found, key=lambda span: span.queued)


def _belongs(each: FailedAttempt, span: Span, began: datetime) -> bool:
    ended = (each.ended - began).total_seconds()
    return (
        (each.workflow_id, each.step) == (span.workflow_id, span.step)
        and each.attempt <= span.attempt
        # A step can come twice in an order's life, as a change of address does.
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
