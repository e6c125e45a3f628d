"""Wait until something is true, at most for so long."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

TIMEOUT = 30.0  # seconds; a task that a worker without a cache has dropped comes again after 10
LOOK_EVERY = 0.01  # seconds


async def until(
    look: Callable[[], Any], true: Callable[[Any], Any] = bool, *, what: str = "", timeout: float = TIMEOUT
) -> Any:
    """Return what `look` returns, awaited if need be, as soon as that is `true`.

    Raises AssertionError after `timeout` seconds. It names `what` was waited for, and what `look` returned last."""
    seen: Any = None
    try:
        async with asyncio.timeout(timeout):
            while True:
                seen = look()
                seen = await seen if inspect.isawaitable(seen) else seen
                if true(seen):
                    return seen
                await asyncio.sleep(LOOK_EVERY)
    except TimeoutError:
        raise AssertionError(too_late(timeout, what, seen)) from None


def wait_until(
    look: Callable[[], T], true: Callable[[T], object] = bool, *, what: str = "", timeout: float = TIMEOUT
) -> T:
    """Do the same, but block the thread."""
    give_up = time.monotonic() + timeout
    while not true(seen := look()):
        assert time.monotonic() < give_up, too_late(timeout, what, seen)
        time.sleep(LOOK_EVERY)
    return seen


def too_late(timeout: float, what: str, seen: object) -> str:
    return f"waited {timeout:g} s for {what or 'it to be true'}, and last saw {seen!r}"
