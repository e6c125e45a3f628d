"""Wait until something is true, for a limited time, and say what did not come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

POLL_INTERVAL = 0.02  # s between two looks


class WaitError(Exception):
    """Something did not come. The message says what, and why or after how long."""


def wait_here(
    condition: Callable[[], T],
    what: str,
    timeout: float,
    gone: Callable[[], str | None] = lambda: None,
    hint: Callable[[], str] = lambda: "",
    tell: Callable[[], object] = lambda: None,
) -> T:
    """Return what `condition` returns, as soon as it is true. This blocks an event loop.

    Args:
        condition: Is asked again and again.
        what: What is waited for, in words.
        timeout: How many seconds to wait at most.
        gone: Says why waiting is of no use any more, or None.
        hint: Says what to add to the error after the timeout.
        tell: Is called between two looks.

    Raises:
        WaitError: It has not come after `timeout` seconds, or `gone` says why it will not.
    """
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        why = gone()
        # What ended may have done its part before it did.
        if why and not condition():
            raise WaitError(f"waited for {what}: {why}")
        if time.monotonic() > deadline:
            raise WaitError(f"waited for {what}: not after {timeout:g} s{hint()}")
        tell()
        time.sleep(POLL_INTERVAL)
    return result


async def wait_until(
    condition: Callable[[], Awaitable[T]],
    what: Callable[[], str],
    timeout: float,
    every: float = POLL_INTERVAL,
) -> T:
    """Return what `condition` returns, as soon as it is true.

    Args:
        condition: Is asked again and again.
        what: Says what is waited for, in words.
        timeout: How many seconds to wait at most.
        every: How many seconds to wait between two looks.

    Raises:
        WaitError: It has not come after `timeout` seconds.
    """
    try:
        async with asyncio.timeout(timeout):
            while True:
                if result := await condition():
                    return result
                await asyncio.sleep(every)
    except TimeoutError:
        raise WaitError(f"waited {timeout:g} s for {what()}") from None
