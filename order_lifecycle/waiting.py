"""Wait until something is true, with a timeout."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

POLL_INTERVAL = 0.02  # s


class WaitError(Exception):
    """What was waited for did not happen. The message says what, and why or after how long."""


def block_until(
    condition: Callable[[], T],
    what: str,
    timeout: float,
    gone: Callable[[], str | None] = lambda: None,
    hint: Callable[[], str] = lambda: "",
    on_poll: Callable[[], object] = lambda: None,
) -> T:
    """Wait until `condition` returns something true, and return that. This blocks an event loop.

    Args:
        condition: A function, which is called again and again.
        what: What you wait for, in words.
        timeout: Seconds to wait.
        gone: Returns why the condition cannot become true any more, or None.
        hint: Returns what to add to the error after the timeout.
        on_poll: A function to call after each look, for example to show progress.

    Raises:
        WaitError: If `gone` returns a reason, or if the condition is not true after `timeout`.
    """
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        why = gone()
        # A process that has ended may have made the condition true before.
        if why and not condition():
            raise WaitError(f"waited for {what}: {why}")
        if time.monotonic() > deadline:
            raise WaitError(f"timed out after {timeout:g} s, waiting for {what}{hint()}")
        on_poll()
        time.sleep(POLL_INTERVAL)
    return result


async def wait_until(
    condition: Callable[[], Awaitable[T]],
    what: Callable[[], str],
    timeout: float,
    every: float = POLL_INTERVAL,
) -> T:
    """Wait until `condition` returns something true, and return that.

    Args:
        condition: An async function, which is called again and again.
        what: Returns what you wait for, in words.
        timeout: Seconds to wait.
        every: Seconds between two looks.

    Raises:
        WaitError: If the condition is not true after `timeout`.
    """
    try:
        async with asyncio.timeout(timeout):
            while True:
                if result := await condition():
                    return result
                await asyncio.sleep(every)
    except TimeoutError:
        raise WaitError(f"timed out after {timeout:g} s, waiting for {what()}") from None
