"""Show which steps are pending, and which worker ran each step that has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from temporalio.client import WorkflowHandle

from order_lifecycle.cli.report import is_attempt_running
from order_lifecycle.lab.process import LabProcess

if TYPE_CHECKING:
    import pandas as pd


async def pending(*handles: WorkflowHandle[Any, Any]) -> pd.DataFrame:
    """Return the pending steps of these workflows as a DataFrame, as the server knows them.

    Each row says which attempt it is, whether a worker has it, and how the attempt before failed.
    """
    import pandas as pd

    rows = []
    for handle in handles:
        for step in (await handle.describe()).raw_description.pending_activities:
            now = "a worker has it" if is_attempt_running(step) else "waits for a worker"
            last = step.last_failure.message if step.HasField("last_failure") else ""
            rows.append([handle.id, step.activity_type.name, step.attempt, now, last])
    return pd.DataFrame(rows, columns=["workflow", "step", "attempt", "now", "last failure"])


async def who(*handles: WorkflowHandle[Any, Any], **workers: LabProcess) -> pd.DataFrame:
    """Return which worker ran each step that has ended, as a DataFrame.

    Args:
        handles: The workflows.
        workers: The workers, each under the name that the DataFrame is to show.
    """
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
                # A worker's identity is its process ID and its machine, such as 123@laptop.
                pid = int(started.identity.partition("@")[0])
                step, name = steps[started.scheduled_event_id], names.get(pid, "another")
                rows.append([handle.id, step, started.attempt, name])
    return pd.DataFrame(rows, columns=["workflow", "step", "attempt", "worker"])
