"""Whether code can go on from an order's history."""

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
    """Can a worker with this code go on from this order's history? It is replayed here, and nothing
    else happens."""
    return await what_stops(workflow, await handle.fetch_history()) is None


async def what_stops(workflow: type, history: WorkflowHistory) -> str | None:
    """Why this code cannot go on from this history; None if it can."""
    replayer = Replayer(
        workflows=[workflow], data_converter=pydantic_data_converter, runtime=quiet()
    )
    try:
        await replayer.replay_workflow(history)
    except NondeterminismError as error:
        return in_short(str(error))
    return None


def in_short(failure: str) -> str:
    """What the SDK says of a history and a code that do not match, without its number and its inner
    notation."""
    found = re.search(r"Nondeterminism error: (.*?)(?:\", source:|$)", failure, re.DOTALL)
    return (
        re.sub(r" HistoryEvent\(id: (\d+), (\w+)\)", r" \2 (event \1)", found[1])
        if found
        else failure
    )


@cache
def quiet() -> Runtime:
    """The SDK's core prints each failed task on the terminal. Here it is an answer."""
    return Runtime(telemetry=TelemetryConfig(logging=None))
