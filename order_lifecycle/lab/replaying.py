"""Replay an order's history, to see whether code can go on from it."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from temporalio.client import WorkflowHandle, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError


async def goes_on(workflow: type, handle: WorkflowHandle[Any, Any]) -> bool:
    """Return True if a worker with this code can go on from this order's history.

    The history is replayed in this process. The order itself does not change.
    """
    return await what_stops(workflow, await handle.fetch_history()) is None


async def what_stops(workflow: type, history: WorkflowHistory) -> str | None:
    """Return why this code cannot go on from this history, or None if it can."""
    replayer = Replayer(
        workflows=[workflow], data_converter=pydantic_data_converter, runtime=quiet()
    )
    try:
        await replayer.replay_workflow(history)
    except NondeterminismError as error:
        return in_short(str(error))
    return None


def in_short(failure: str) -> str:
    """Return the SDK's message about a non-determinism error, without its internal notation."""
    found = re.search(r"Nondeterminism error: (.*?)(?:\", source:|$)", failure, re.DOTALL)
    return (
        re.sub(r" HistoryEvent\(id: (\d+), (\w+)\)", r" \2 (event \1)", found[1])
        if found
        else failure
    )


@cache
def quiet() -> Runtime:
    """Return a runtime that does not print each failed task, because here a failure is expected."""
    return Runtime(telemetry=TelemetryConfig(logging=None))
