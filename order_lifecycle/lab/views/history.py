"""Show an order's history in Temporal, as events or as spans of time that can be drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle

from order_lifecycle.cli.report import is_attempt_running
from order_lifecycle.temporal_compat import client_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Span:
    """A part of an order's life, such as a step, a wait or a signal.

    All times are seconds since the order was started.
    """

    step: str
    # step, retries (the failed attempts before the last) or attempt (one of them), wait, child,
    # signal or update
    kind: str
    queued: float  # when the workflow asked for it; until `start` it waited for a worker
    start: float
    end: float | None = None  # None if it has not ended
    # running, waiting (for a worker), ok, failed, timed out, cancelled, terminated, ended early, or
    # abandoned (the workflow ended while it still ran)
    outcome: str = "running"
    attempt: int = 1
    note: str = ""
    depth: int = field(default=0, repr=False)  # 1 in a child workflow
    workflow_id: str = field(default="", repr=False)


# The types of the last event of a workflow that has ended.
CLOSED = tuple(
    f"workflow_execution_{how}_event"
    for how in ("completed", "failed", "timed_out", "canceled", "terminated", "continued_as_new")
)


async def history(handle: WorkflowHandle[Any, Any], *, tasks: bool = False) -> pd.DataFrame:
    """Return the events that Temporal has recorded for a workflow, as a DataFrame.

    Each row has the type of an event and what it is about.

    Args:
        handle: The workflow.
        tasks: Show the workflow task events, too, and the number of each event. Three such events
            are recorded each time that a worker runs the workflow's code. They say nothing about
            the order.
    """
    import pandas as pd

    events = (await handle.fetch_history()).events
    rows = [
        {"id": event.event_id, "event": _name(event), "about": _about(event, events)}
        for event in events
    ]
    if tasks:
        return pd.DataFrame(rows)
    shown = [row for row in rows if not str(row["event"]).startswith("WorkflowTask")]
    return pd.DataFrame(shown, columns=["event", "about"])


async def spans(handle: WorkflowHandle[Any, Any]) -> list[Span]:
    """Return what happened in an order and in its child workflows, in order of time."""
    client = client_of(handle)
    described = await handle.describe()
    found = await _spans(client, handle, described.start_time, 0)
    return sorted(found, key=lambda span: span.queued)


async def _spans(
    client: Client, handle: WorkflowHandle[Any, Any], began: datetime, depth: int
) -> list[Span]:
    events = (await handle.fetch_history()).events
    found: dict[int, Span] = {}
    retries: list[Span] = []
    timeouts: dict[int, float] = {}  # s, for one attempt of a step
    pending = {
        each.activity_id: each
        for each in (await handle.describe()).raw_description.pending_activities
    }
    for event in events:
        kind = event.WhichOneof("attributes") or ""
        data = getattr(event, kind)
        at = _seconds(event.event_time, began)
        match kind.removesuffix("_event_attributes"):
            case "activity_task_scheduled":
                span = found[event.event_id] = Span(
                    data.activity_type.name, "step", at, at, depth=depth
                )
                timeouts[event.event_id] = data.start_to_close_timeout.ToTimedelta().total_seconds()
                if now := pending.get(data.activity_id):
                    running = is_attempt_running(now)
                    start = _seconds(now.last_started_time if running else _now(), began)
                    span = replace(
                        span,
                        start=start,
                        attempt=now.attempt,
                        outcome="running" if running else "waiting",
                    )
                    last_scheduled = min(_seconds(now.scheduled_time, began), start)
                    found[event.event_id] = _split_off_retries(
                        span, now.last_failure.message, retries, last_scheduled
                    )
            case "activity_task_started":
                span = replace(
                    found[data.scheduled_event_id],
                    start=at,
                    attempt=data.attempt,
                    outcome="running",
                )
                last_scheduled = at
                if data.attempt == 2 and data.last_failure.HasField("timeout_failure_info"):
                    # The worker died, so the attempt lasted until its timeout. After that the step
                    # waited for another worker.
                    last_scheduled = min(at, span.queued + timeouts[data.scheduled_event_id])
                found[data.scheduled_event_id] = _split_off_retries(
                    span, data.last_failure.message, retries, last_scheduled
                )
            case "start_child_workflow_execution_initiated":
                found[event.event_id] = Span(data.workflow_id, "child", at, at, depth=depth)
            case "child_workflow_execution_started":
                execution = data.workflow_execution
                child = client.get_workflow_handle(execution.workflow_id, run_id=execution.run_id)
                start = _seconds(await _first_task_time(child), began)
                found[data.initiated_event_id] = replace(
                    found[data.initiated_event_id], start=start
                )
                retries += await _spans(client, child, began, depth + 1)
            case "timer_started":
                found[event.event_id] = Span(
                    _summary(event) or "timer", "wait", at, at, depth=depth
                )
            case "workflow_execution_signaled":
                name = data.signal_name
                found[event.event_id] = Span(name, "signal", at, at, at, "ok", depth=depth)
            case "workflow_execution_update_accepted":
                name = data.accepted_request.input.name
                found[event.event_id] = Span(name, "update", at, at, at, "ok", depth=depth)
            case _:
                number = _opening_event_id(kind, data)
                if number in found and found[number].end is None and (outcome := _outcome(kind)):
                    note = data.failure.message if hasattr(data, "failure") else ""
                    found[number] = replace(
                        found[number], end=at, outcome=outcome, note=found[number].note or note
                    )
    last = events[-1]
    if (last.WhichOneof("attributes") or "").startswith(CLOSED):
        closed = _seconds(last.event_time, began)
        for number, span in found.items():
            if span.end is None:  # the workflow did not wait for it
                end = max(closed, span.start)
                found[number] = replace(span, end=end, outcome="abandoned")
    # The spans of child workflows have a workflow ID already.
    return [
        replace(span, workflow_id=span.workflow_id or handle.id)
        for span in [*found.values(), *retries]
    ]


async def _first_task_time(handle: WorkflowHandle[Any, Any]) -> Timestamp:
    """Return when a worker took the workflow's first task.

    If no worker has taken one, return when the workflow ended, or now. (Temporal calls a workflow
    running even before a worker takes it.)
    """
    for event in (await handle.fetch_history()).events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
            return event.event_time
    info = (await handle.describe()).raw_description.workflow_execution_info
    return info.close_time if info.HasField("close_time") else _now()


def _split_off_retries(
    span: Span, last_failure: str, retries: list[Span], last_scheduled: float
) -> Span:
    """Move the attempts before the last into a span of kind "retries", and return the rest.

    The history has no events of those attempts. It has only their number and the last failure.

    Args:
        span: The step, from its first attempt on.
        last_failure: How the attempt before the last failed.
        retries: The list that gets the new span.
        last_scheduled: When the server scheduled the last attempt.
    """
    if span.attempt == 1:
        return span
    failed = replace(
        span,
        kind="retries",
        start=span.queued,
        end=last_scheduled,
        outcome="failed",
        note=last_failure,
    )
    retries.append(replace(failed, attempt=span.attempt - 1))
    return replace(span, queued=last_scheduled)


def _opening_event_id(kind: str, data: Any) -> int:
    """Return the ID of the event that began what this event ends, or 0."""
    for name in ("scheduled_event_id", "initiated_event_id"):
        if hasattr(data, name):
            return int(getattr(data, name))
    return int(data.started_event_id) if kind.startswith("timer_") else 0


def _outcome(kind: str) -> str | None:
    """Return the outcome that an event of this kind means, or None if it is not an end."""
    endings = {
        "completed": "ok",
        "fired": "ok",
        "failed": "failed",
        "timed_out": "timed out",
        "canceled": "cancelled",
        "terminated": "terminated",
    }
    if kind.startswith("timer_canceled"):
        return "ended early"
    name = kind.removesuffix("_event_attributes")
    return next(
        (outcome for ending, outcome in endings.items() if name.endswith(f"_{ending}")), None
    )


def _name(event: HistoryEvent) -> str:
    """Return the type of an event as Temporal's Web UI spells it, such as WorkflowTaskStarted."""
    words = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").split("_")
    return "".join(word.capitalize() for word in words)


def _about(event: HistoryEvent, events: Any) -> str:
    """Return the name of the activity, workflow, signal or timer that an event is about."""
    kind = event.WhichOneof("attributes") or ""
    data = getattr(event, kind)
    if kind.startswith("upsert"):
        return ", ".join(sorted(data.search_attributes.indexed_fields))
    for name in ("activity_type", "workflow_type"):
        if hasattr(data, name) and not kind.startswith(("child", "start_child")):
            return str(getattr(data, name).name)
    for name in ("signal_name", "workflow_id"):
        if hasattr(data, name):
            return str(getattr(data, name))
    if kind.startswith("child"):
        return str(data.workflow_execution.workflow_id)
    if kind.startswith("timer_started"):
        return _summary(event)
    opened = _opening_event_id(kind, data)
    return _about(events[opened - 1], events) if opened else ""


def _summary(event: HistoryEvent) -> str:
    return event.user_metadata.summary.data.decode().strip('"')


def _seconds(time: Timestamp, began: datetime) -> float:
    return (time.ToDatetime(tzinfo=UTC) - began).total_seconds()


def _now() -> Timestamp:
    now = Timestamp()
    now.GetCurrentTime()
    return now


def describe_spans(found: list[Span]) -> Iterator[str]:
    """Yield a description of each span in a few words, without its times."""
    for span in found:
        if span.kind == "retries":
            yield f"{span.step} failed {span.attempt} time{'s' if span.attempt > 1 else ''}"
        elif span.kind == "attempt":
            yield f"{span.step} attempt {span.attempt} {span.outcome}"
        elif span.kind in ("signal", "update"):
            yield f"{span.kind} {span.step}"
        else:
            kinds = {"wait": "waits for the ", "child": "child workflow "}
            name = kinds.get(span.kind, "") + span.step
            yield name if span.outcome == "ok" else f"{name} ({span.outcome})"
