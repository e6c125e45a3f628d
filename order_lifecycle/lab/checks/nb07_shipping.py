"""Checks of the exercises about shipping."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from order_lifecycle.lab.checks.base import Check, Outcome, no_order_message, row_of
from order_lifecycle.lab.views.tables import store
from order_lifecycle.lab.waiting import run_in_own_loop

Race = Callable[[Coroutine[Any, Any, str], asyncio.Event], Awaitable[str | None]]

TIMEOUT = 1.0  # s, for what takes no time


def check_tries(order_id: str, tries: int) -> Check:
    """Did the order fail after so many tries at shipping it, with its money given back?"""
    order, payment = row_of("orders", order_id), row_of("payments", order_id)
    failed = [row for row in store().rows("events", order_id) if row["type"] == "dispatch_failed"]
    wrong = None
    if order is None:
        wrong = no_order_message(order_id, f'`await buy("{order_id}", …)`.')
    elif order["state"] == "shipped":
        wrong = (
            f"{order_id} was shipped. "
            "Hint: the one shipping worker that runs must be that with `no_carrier`."
        )
    elif order["state"] != "failed":
        wrong = (
            f"{order_id} is {order['state']}, after {len(failed)} tries. "
            "Hint: wait for its end, and see who runs."
        )
    elif len(failed) != tries:
        wrong = (
            f"{order_id} was tried {len(failed)} times, not {tries}. "
            f"Hint: `Policy(shipping_tries={tries})`."
        )
    elif payment is None or payment["status"] != "refunded":
        wrong = (
            f"{order_id} has failed, and no charge was given back. "
            "Hint: only the carrier may fail, after the charge."
        )
    return Check(
        wrong, f"{order_id} was tried {tries} times and no more, and its charge is given back."
    )


def check_race(race: Race) -> Check:
    """Does `race(step, cancel)` give what the step returns, or None as soon as the event `cancel`
    is set, and stop the step then?"""
    wrong = run_in_own_loop(_first_fault(race))
    return Check(wrong, "The step's end or the cancel: whichever comes first counts.")


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
            "The step has ended, and `race` still waits. "
            "Hint: `return_when=asyncio.FIRST_COMPLETED`."
        )
    return (
        f"The step returned 'shipped', and {_what(came)}. Hint: `task = asyncio.create_task(step)`."
    )


async def _cancelled_first(race: Race) -> str | None:
    cancel, stopped = asyncio.Event(), asyncio.Event()

    async def step() -> str:
        try:
            return str(await asyncio.Event().wait())  # which never comes
        finally:
            stopped.set()

    asyncio.get_running_loop().call_later(0.05, cancel.set)
    came = await _run(race, step(), cancel)
    if isinstance(came.raised, TimeoutError):
        return (
            "The cancel came, and `race` still waits for the step. "
            "Hint: wait for whichever comes first."
        )
    if came != Outcome(returned=None):
        return (
            f"The cancel came first, and {_what(came)}. "
            "Hint: do not await a step that you cancelled."
        )
    try:
        await asyncio.wait_for(stopped.wait(), 0.1)
    except TimeoutError:
        return "The cancel came first, and the step goes on unseen. Hint: `task.cancel()`."
    return None


async def _fails(race: Race) -> str | None:
    async def step() -> str:
        raise ValueError("the carrier said no")

    came = await _run(race, step(), asyncio.Event())
    if isinstance(came.raised, ValueError):
        return None
    if isinstance(came.raised, TimeoutError):
        return "The step raised a ValueError, and `race` still waits. Hint: that is its end, too."
    return (
        f"The step raised a ValueError, and {_what(came)}. "
        "Hint: `task.result()` raises what the step raised."
    )


async def _run(race: Race, step: Coroutine[Any, Any, str], cancel: asyncio.Event) -> Outcome:
    try:
        return Outcome(returned=await asyncio.wait_for(race(step, cancel), TIMEOUT))
    except (Exception, asyncio.CancelledError) as error:
        return Outcome(raised=error)
    finally:
        if inspect.getcoroutinestate(step) == inspect.CORO_CREATED:
            step.close()  # Python warns of what was never begun


def _what(came: Outcome) -> str:
    if came.raised is not None:
        return f"`race` raised {came.raised!r}"
    return f"`race` returned {came.returned!r}"
