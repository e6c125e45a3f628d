"""The exercises of notebook 09: what is right, and each of the ways to be wrong, told apart. (The mistakes that need a
server stand in the notebook itself.)"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from rules import TOP
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from order_lifecycle import lab
from order_lifecycle.lab import check_testing
from order_lifecycle.lessons.small_orders import WithoutSmallReviews
from order_lifecycle.workflows.order import OrderWorkflow

HISTORIES = TOP / "tests" / "replay" / "histories"


async def unsolved(workflow: type, history: WorkflowHistory) -> None:
    return None


async def says_yes(workflow: type, history: WorkflowHistory) -> bool:
    replayer = Replayer(workflows=[workflow], data_converter=pydantic_data_converter)
    await replayer.replay_workflow(history, raise_on_replay_failure=False)
    return True


async def raises(workflow: type, history: WorkflowHistory) -> bool:
    await Replayer(workflows=[workflow], data_converter=pydantic_data_converter).replay_workflow(history)
    return True


async def without_the_converter(workflow: type, history: WorkflowHistory) -> bool:
    result = await Replayer(workflows=[workflow]).replay_workflow(history, raise_on_replay_failure=False)
    return result.replay_failure is None


async def right(workflow: type, history: WorkflowHistory) -> bool:
    try:
        await raises(workflow, history)
    except NondeterminismError:
        return False
    return True


@pytest.mark.parametrize(
    ("goes_on", "says"),
    [
        (right, "✓ Right"),
        (unsolved, "✗ Not yet. It returns nothing"),
        (says_yes, "✗ Not yet. With WithoutSmallReviews and the history `shipped` it should say False"),
        (raises, "✗ Not yet. With WithoutSmallReviews and the history `shipped` it raises NondeterminismError"),
        pytest.param(
            without_the_converter,
            "✗ Not yet. With OrderWorkflow and the history `shipped` it should say True",
            marks=pytest.mark.filterwarnings("ignore"),  # the SDK warns of just this mistake
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_goes_on(goes_on: Callable[[type, WorkflowHistory], Awaitable[Any]], says: str) -> None:
    assert str(lab.check_goes_on(goes_on, HISTORIES)).startswith(says)


async def nothing(workflow: type) -> None:
    pass


async def fails_whatever_comes(workflow: type) -> None:
    raise AssertionError("no")


async def fails_with_the_wrong_one(workflow: type) -> None:
    assert workflow is OrderWorkflow


async def without_a_look_at_the_deadline(workflow: type) -> None:
    assert workflow is not WithoutSmallReviews


@pytest.mark.parametrize(
    ("test", "says"),
    [
        (fails_with_the_wrong_one, "✓ Right"),
        (nothing, "✗ Not yet. It passes with WithoutSmallReviews too"),
        (without_a_look_at_the_deadline, "✗ Not yet. It passes with a workflow that approves an order when"),
        (fails_whatever_comes, "✗ Not yet. It fails with OrderWorkflow, which is right: AssertionError no."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_test(test: Callable[[type], Awaitable[None]], says: str) -> None:
    assert str(lab.check_test(test)).startswith(says)


def test_a_test_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def waits_for_three_days(workflow: type) -> None:
        await fails_with_the_wrong_one(workflow)
        await asyncio.sleep(3 * 24 * 3600)

    monkeypatch.setattr(check_testing, "AT_MOST", 0.1)
    says = str(lab.check_test(waits_for_three_days))
    assert says.startswith("✗ Not yet. It fails with OrderWorkflow, which is right: it did not end within")
