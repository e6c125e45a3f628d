"""Check the exercises of notebook 07: bounded shipping tries, and a step that races a cancel."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from order_lifecycle.lab.checks.base import Check, Outcome, no_order_message, row_of
from order_lifecycle.lab.views.tables import store
from order_lifecycle.lab.waiting import run_in_own_loop

Race = Callable[[Coroutine[Any, Any, str], asyncio.Event], Awaitable[str | None]]

TIMEOUT = 1.0  # s, for a call that takes a few milliseconds


def check_tries(order_id: str, tries: int) -> Check:
    """Check that the order failed after `tries` shipping tries and was refunded."""
    order, payment = row_of("orders", order_id), row_of("payments", order_id)
    failed = [row for row in store().rows("events", order_id) if row["type"] == "dispatch_failed"]
    wrong = None
    if order is None:
        wrong = no_order_message(order_id, f'`await buy("{order_id}", …)`.')
    elif order["state"] == "shipped":
        wrong = f"{order_id} was shipped. Hint: let only the shipping worker with `no_carrier` run."
    elif order["state"] != "failed":
        wrong = (
            f"{order_id} is {order['state']}, after {len(failed)} shipping tries. "
            "Hint: wait for its end, and look which workers run."
        )
    elif len(failed) != tries:
        wrong = (
            f"Shipping {order_id} was tried {len(failed)} times, not {tries}. "
            f"Hint: `Policy(shipping_tries={tries})`."
        )
    elif payment is None or payment["status"] != "refunded":
        wrong = (
            f"{order_id} has failed, but no charge was refunded. "
            "Hint: only the carrier may fail, after the charge."
        )
    return Check(
        wrong, f"Shipping {order_id} was tried {tries} times, and then its charge was refunded."
    )


def check_race(race: Race) -> Check:
    """Check that `race(step, cancel)` ends at the step's end or at the cancel.

    It has to return what the step returns. When the event `cancel` is set, it has to return None
    and stop the step.
    """
    wrong = run_in_own_loop(_first_fault(race))
    return Check(wrong, "`race` ends at the step's end or at the cancel, whichever comes first.")


async def _first_fault(race: Race) -> str | None:
    return await _ends_first(race) or await _cancelled_first(race) or await _fails(race)


async def _ends_first(race: Race) -> str | None:
    async def step() -> str:
        return "shipped"

    came = await _run(race, step(), asyncio.Event())
    if came.returned == "shipped":
        return None
    if isinstance(came.raised, TimeoutError):
        return (
            "The step has ended, but `race` still waits. "
            "Hint: `return_when=asyncio.FIRST_COMPLETED`."
        )
    return (
        f"The step returned 'shipped', but {_what(came)}. Hint: `task = asyncio.create_task(step)`."
    )


async def _cancelled_first(race: Race) -> str | None:
    cancel, stopped = asyncio.Event(), asyncio.Event()

    async def step() -> str:
        try:
            return str(await asyncio.Event().wait())  # forever
        finally:
            stopped.set()

    asyncio.get_running_loop().call_later(0.05, cancel.set)
    came = await _run(race, step(), cancel)
    if isinstance(came.raised, TimeoutError):
        return (
            "The cancel came, but `race` still waits for the step. "
            "Hint: wait for the step and the cancel, until one of them is there."
        )
    if came != Outcome(returned=None):
        return (
            f"The cancel came first, so `race` should return None, but {_what(came)}. "
            "Hint: do not await a step that you cancelled."
        )
    try:
        await asyncio.wait_for(stopped.wait(), 0.1)
    except TimeoutError:
        return "The cancel came first, but the step still runs. Hint: `task.cancel()`."
    return None


async def _fails(race: Race) -> str | None:
    async def step() -> str:
        raise ValueError("the carrier said no")

    came = await _run(race, step(), asyncio.Event())
    if isinstance(came.raised, ValueError):
        return None
    if isinstance(came.raised, TimeoutError):
        return (
            "The step raised a ValueError, but `race` still waits. "
            "Hint: a step that raises has ended, too."
        )
    return (
        f"The step raised a ValueError, but {_what(came)}. "
        "Hint: `task.result()` raises what the step raised."
    )


async def _run(race: Race, step: Coroutine[Any, Any, str], cancel: asyncio.Event) -> Outcome:
    try:
        return Outcome(returned=await asyncio.wait_for(race(step, cancel), TIMEOUT))
    except (Exception, asyncio.CancelledError) as error:
        return Outcome(raised=error)
    finally:
        if inspect.getcoroutinestate(step) == inspect.CORO_CREATED:
            step.close()  # otherwise Python warns that it was never awaited


def _what(came: Outcome) -> str:
    if came.raised is not None:
        return f"`race` raised {came.raised!r}"
    return f"`race` returned {came.returned!r}"
