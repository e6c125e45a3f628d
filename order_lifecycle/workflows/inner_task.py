"""Work that no cancel interrupts. docs/decisions/an_inner_task.md has the reasons."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from temporalio import workflow

T = TypeVar("T")


async def run_to_completion(task: asyncio.Task[T], on_cancel: Callable[[], None]) -> T:
    """Wait until the task has ended, and return its result.

    Temporal's cancel interrupts this wait, and never the task. Each time, `on_cancel` is called,
    which may ask the task to end in its own way.
    """
    while not task.done():
        try:
            await workflow.wait_condition(task.done)
        except asyncio.CancelledError:
            on_cancel()
    return await task
