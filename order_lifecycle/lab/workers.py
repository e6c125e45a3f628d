"""Who does what: the steps that are under way, and which worker did each that is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from temporalio.client import WorkflowHandle

from order_lifecycle.cli.report import is_running
from order_lifecycle.lab.process import LabProcess

if TYPE_CHECKING:
    import pandas as pd


async def pending(*handles: WorkflowHandle[Any, Any]) -> pd.DataFrame:
    """The steps of these workflows that are not done yet, as the server knows them: which attempt
    it is, whether a worker has it, and what became of the attempt before."""
    import pandas as pd

    rows = []
    for handle in handles:
        for step in (await handle.describe()).raw_description.pending_activities:
            now = "a worker has it" if is_running(step) else "waits for a worker"
            last = step.last_failure.message if step.HasField("last_failure") else ""
            rows.append([handle.id, step.activity_type.name, step.attempt, now, last])
    return pd.DataFrame(rows, columns=["workflow", "step", "attempt", "now", "last failure"])


async def who(*handles: WorkflowHandle[Any, Any], **workers: LabProcess) -> pd.DataFrame:
    """For each step of these workflows that a worker was given and that has ended: which of
    `workers` it was."""
    import pandas as pd

    names = {worker.pid: name for name, worker in workers.items()}
    rows = []
    for handle in handles:
        events = (await handle.fetch_history()).events
        steps = {
            event.event_id: event.activity_task_scheduled_event_attributes.activity_type.name
            for event in events
        }
        for event in events:
            if event.HasField("activity_task_started_event_attributes"):
                started = event.activity_task_started_event_attributes
                # A worker calls itself by its process id and machine.
                pid = int(started.identity.partition("@")[0])
                step, name = steps[started.scheduled_event_id], names.get(pid, "another")
                rows.append([handle.id, step, started.attempt, name])
    return pd.DataFrame(rows, columns=["workflow", "step", "attempt", "worker"])
