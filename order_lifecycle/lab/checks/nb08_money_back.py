"""Check the exercises of notebook 08: a cancel by Temporal, and a saga that refunds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

from temporalio.client import WorkflowExecutionStatus

from order_lifecycle.client import connect, workflow_id
from order_lifecycle.lab.checks.base import Check, Outcome, no_order_message, row_of
from order_lifecycle.lab.waiting import run_in_own_loop

Step = Callable[[], Awaitable[None]]
Saga = Callable[[Step, Step, Step], Awaitable[object]]

TIMEOUT = 1.0  # s, for a call that takes a few milliseconds


def check_cancelled_by_temporal(order_id: str) -> Check:
    """Check that Temporal's own cancel ended the order after its charge, with a refund."""
    order, payment = row_of("orders", order_id), row_of("payments", order_id)
    wanted = WorkflowExecutionStatus.CANCELED
    wrong = None
    if order is None:
        wrong = no_order_message(order_id, f'`await buy("{order_id}")`.')
    elif order["state"] != "cancelled":
        wrong = (
            f"{order_id} is {order['state']}. Hint: `await handle.cancel()`, then wait for its end."
        )
    elif payment is None:
        wrong = (
            f"{order_id} was cancelled before it was charged. "
            "Hint: `buy` it, because `buy` waits for the charge."
        )
    elif (status := run_in_own_loop(_status(order_id))) is not wanted:
        wrong = _ended_otherwise(order_id, status)
    return Check(wrong, f"Temporal cancelled {order_id}, and the order still refunded its charge.")


def _ended_otherwise(order_id: str, status: WorkflowExecutionStatus | None) -> str:
    name = status.name if status else "unknown"
    what = f"For Temporal the workflow of {order_id} is {name}, not CANCELED"
    if status is WorkflowExecutionStatus.COMPLETED:
        return f"{what}, because a signal or an Update cancelled it. Hint: `handle.cancel()`."
    if status is WorkflowExecutionStatus.RUNNING:
        return f"{what} yet. Hint: `await ends(handle)`."
    return f"{what}. Hint: `buy` it, which starts an `OrderWorkflow`."


async def _status(order_id: str) -> WorkflowExecutionStatus | None:
    return (await (await connect()).get_workflow_handle(workflow_id(order_id)).describe()).status


def check_saga(saga: Saga) -> Check:
    """Check that `saga(charge, pack, refund)` charges and packs, and refunds if it cannot."""
    wrong = run_in_own_loop(_first_fault(saga))
    return Check(
        wrong,
        "It refunds after a failure and after a cancel, "
        "even if it is cancelled again during the refund.",
    )


class _Shop:
    """Three steps that record what they did.

    The step `fails` raises an error, and the step `hangs` waits until `go_on` is set.
    """

    def __init__(self, *, fails: str = "", hangs: str = "") -> None:
        self.begun = {step: asyncio.Event() for step in ("charge", "pack", "refund")}
        self.done: list[str] = []
        self.calls: Counter[str] = Counter()
        self.go_on = asyncio.Event()
        self._fails = fails
        self._hangs = hangs

    async def charge(self) -> None:
        await self._do("charge")

    async def pack(self) -> None:
        await self._do("pack")

    async def refund(self) -> None:
        await self._do("refund")

    async def _do(self, step: str) -> None:
        self.begun[step].set()
        self.calls[step] += 1
        if step == self._hangs:
            await self.go_on.wait()
        if step == self._fails:
            raise ValueError(f"{step} failed")
        self.done.append(step)


async def _first_fault(saga: Saga) -> str | None:
    return (
        await _goes_well(saga)
        or await _pack_fails(saga)
        or await _charge_fails(saga)
        or await _cancelled_while_it_packs(saga)
        or await _cancelled_while_it_charges(saga)
        or await _cancelled_again_and_again(saga)
    )


async def _goes_well(saga: Saga) -> str | None:
    shop = _Shop()
    await _end(_start(saga, shop))
    if shop.done == ["charge", "pack"]:
        return None
    return (
        f"No step failed, and these steps were done: {', '.join(shop.done) or 'none'}. "
        "Hint: charge, then pack, and do not refund."
    )


async def _pack_fails(saga: Saga) -> str | None:
    shop = _Shop(fails="pack")
    came = await _end(_start(saga, shop))
    if "refund" not in shop.done:
        return (
            "`pack` failed, but there was no refund. "
            "Hint: `try: …`, and `await refund()` in its `except`."
        )
    return _refunded_once(shop) or _raises(came, ValueError, "`pack` failed")


async def _charge_fails(saga: Saga) -> str | None:
    shop = _Shop(fails="charge")
    came = await _end(_start(saga, shop))
    if "refund" not in shop.done:
        return (
            "`charge` failed, but there was no refund. "
            "A charge that fails, for example by a timeout, may still have moved the money. "
            "Hint: put `charge` into the `try`, too."
        )
    return _refunded_once(shop) or _raises(came, ValueError, "`charge` failed")


async def _cancelled_while_it_packs(saga: Saga) -> str | None:
    shop = _Shop(hangs="pack")
    task = _start(saga, shop)
    await _begins(shop, "pack")
    task.cancel()
    came = await _end(task)
    if "refund" not in shop.done:
        return (
            "It was cancelled while it packed, but there was no refund. "
            "Hint: CancelledError is not a subclass of Exception."
        )
    return _refunded_once(shop) or _raises(came, asyncio.CancelledError, "It was cancelled")


async def _cancelled_while_it_charges(saga: Saga) -> str | None:
    shop = _Shop(hangs="charge")
    task = _start(saga, shop)
    await _begins(shop, "charge")
    task.cancel()
    came = await _end(task)
    if "refund" not in shop.done:
        return (
            "It was cancelled while it charged, but there was no refund. The money may have moved. "
            "Hint: the same `try`, and the same `except`, for `charge` and `pack`."
        )
    return _refunded_once(shop) or _raises(came, asyncio.CancelledError, "It was cancelled")


async def _cancelled_again_and_again(saga: Saga) -> str | None:
    shop = _Shop(fails="pack", hangs="refund")
    task = _start(saga, shop)
    await _begins(shop, "refund")
    for _ in range(3):
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
        if task.done():
            return (
                "It was cancelled while it refunded, and ended before the refund did. "
                "Hint: make a task for the refund, and wait in a loop until it is done."
            )
    shop.go_on.set()
    came = await _end(task)
    if "refund" not in shop.done:
        return (
            "It was cancelled while it refunded, and the refund did not finish. "
            "Hint: wait until its task is done."
        )
    return _refunded_once(shop) or _raises(
        came, (ValueError, asyncio.CancelledError), "`pack` failed"
    )


def _refunded_once(shop: _Shop) -> str | None:
    times = shop.calls["refund"]
    return (
        None
        if times == 1
        else f"`refund` was called {times} times. Hint: make one task for it, and wait for that."
    )


def _raises(came: Outcome, error: type | tuple[type, ...], what: str) -> str | None:
    return (
        None
        if isinstance(came.raised, error)
        else f"{what}, but `saga` did not raise the error again. Hint: `raise` at the end."
    )


def _start(saga: Saga, shop: _Shop) -> asyncio.Task[object]:
    async def run() -> object:
        return await saga(shop.charge, shop.pack, shop.refund)

    return asyncio.create_task(run())


async def _end(task: asyncio.Task[object]) -> Outcome:
    """Return how the task ended: with a TimeoutError if it has not ended after TIMEOUT."""
    await asyncio.wait([task], timeout=TIMEOUT)
    if not task.done():
        task.cancel()
        return Outcome(raised=TimeoutError())
    if task.cancelled():
        return Outcome(raised=asyncio.CancelledError())
    error = task.exception()
    return Outcome(raised=error) if error else Outcome(returned=task.result())


async def _begins(shop: _Shop, step: str) -> None:
    # If the saga never begins the step, the check goes on and finds out by what was done.
    with suppress(TimeoutError):
        await asyncio.wait_for(shop.begun[step].wait(), TIMEOUT)
