"""Check the exercises of notebook 09: a test of a workflow, and a replay."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHistory

from order_lifecycle.lab.checks.base import Check
from order_lifecycle.lab.waiting import run_in_own_loop
from order_lifecycle.lessons.small_orders import SilenceIsConsent, WalksAway, WithoutSmallReviews
from order_lifecycle.workflows.order import OrderWorkflow

Test = Callable[[type], Awaitable[Any]]
GoesOn = Callable[[type, WorkflowHistory], Awaitable[Any]]

TIMEOUT = 20.0  # s, for a test that takes one or two seconds


class NoWorkflow:
    """A class that no worker accepts, because it is not a workflow."""


def check_test(test: Test) -> Check:
    """Check that `test(workflow)` passes with the order's workflow and fails with wrong ones.

    The wrong ones are a workflow that reviews no small orders, one that approves an order when its
    deadline passes, and one that ends then without cancelling the order.
    """
    name = getattr(test, "__name__", "the test")
    now = "the check"

    async def error_of_test(workflow: type) -> Exception | None:
        nonlocal now
        now = f"{name}({workflow.__name__})"
        try:
            await asyncio.wait_for(test(workflow), TIMEOUT)
        except Exception as error:
            return error
        return None

    wrong = run_in_own_loop(_first_fault(error_of_test), lambda: now)
    return Check(wrong, "It passes with the right workflow, and fails with a wrong one.")


async def _first_fault(
    error_of_test: Callable[[type], Awaitable[Exception | None]],
) -> str | None:
    if await error_of_test(WithoutSmallReviews) is None:
        if await error_of_test(NoWorkflow) is None:
            return (
                "It passes with every class, even with one that is not a workflow. "
                "Hint: `async with mocked(workflow) as (server, calls):`, as in section 3."
            )
        return (
            "It passes with WithoutSmallReviews, too, "
            "which charges the order although nobody approved it. "
            "Hint: compare `calls` with the steps of an order that nobody approved."
        )
    error = await error_of_test(OrderWorkflow)
    if isinstance(error, TimeoutError):
        return (
            "It fails with OrderWorkflow, where it must pass: "
            f"it did not end within {TIMEOUT:.0f} s. "
            "Hint: `await server.skip(days=4)` before you wait for the result."
        )
    if error:
        return (
            f"It fails with OrderWorkflow, where it must pass: {type(error).__name__} {error}. "
            "Hint: print `calls` before you assert what it must be."
        )
    if await error_of_test(SilenceIsConsent) is None:
        return (
            "It passes with a workflow that approves an order after three days. "
            "Hint: let nobody answer, and `await server.skip(days=4)`. "
            "Which steps may be in `calls` then?"
        )
    if await error_of_test(WalksAway) is None:
        return (
            "It passes with a workflow that just ends after three days. "
            "Hint: wait for the result, and check whether `close_order` is in `calls`."
        )
    return None


def check_goes_on(goes_on: GoesOn, histories: Path) -> Check:
    """Check that `goes_on(workflow, history)` says whether the workflow can replay the history."""
    cases: list[tuple[type, str, bool]] = [
        (OrderWorkflow, "shipped", True),
        (WithoutSmallReviews, "shipped", False),
        (WithoutSmallReviews, "approved_at_the_start", True),
    ]
    wrong = None
    for workflow, kind, right in cases:
        wrong = wrong or _what_is_wrong(goes_on, workflow, histories / f"{kind}.json", right)
    return Check(wrong, "It says which changes running orders can go on with, and which stop them.")


def _what_is_wrong(goes_on: GoesOn, workflow: type, file: Path, right: bool) -> str | None:
    history = WorkflowHistory.from_json(f"order-{file.stem}", file.read_text())

    async def run() -> Any:
        return await asyncio.wait_for(goes_on(workflow, history), TIMEOUT)

    case = f"{workflow.__name__} and the history `{file.stem}`"
    try:
        answer = run_in_own_loop(run())
    except TimeoutError:
        return (
            f"With {case} it does not end within {TIMEOUT:.0f} s. "
            "Hint: a replay takes milliseconds, and needs no server."
        )
    except Exception as error:
        return (
            f"With {case} it raises {type(error).__name__}. "
            "Hint: a replay that fails raises NondeterminismError."
        )
    if answer is None:
        return (
            "It returns nothing. "
            "Hint: make a `Replayer` with `workflows=[workflow]`, "
            "`await` its `replay_workflow(history)`, then `return True`."
        )
    if answer is not right:
        hint = (
            "replay with the argument `workflow`, and return False if the replay fails. With "
            "`raise_on_replay_failure=False` the failure is only in the result, as `replay_failure`"
            if not right
            else "a `Replayer` needs the `data_converter` that wrote the history"
        )
        return f"With {case} it should return {right}, but it returns {answer!r}. Hint: {hint}."
    return None
