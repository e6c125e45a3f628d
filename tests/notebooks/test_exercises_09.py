"""The checks of notebook 09 name the right answer and each mistake.

The notebook itself shows the mistakes in a test that need a server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import nbformat
import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from order_lifecycle import lab
from order_lifecycle.lab import servers
from order_lifecycle.lab.checks import nb09_testing
from order_lifecycle.lab.servers import LabServers
from order_lifecycle.lessons.small_orders import SilenceIsConsent, WithoutSmallReviews
from order_lifecycle.workflows.order import OrderWorkflow
from tests.notebooks.rules import TOP

NOTEBOOK = TOP / "notebooks" / "09_testing.ipynb"
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
        (says_yes, "✗ Not yet. With WithoutSmallReviews and the history `shipped` it should return False"),
        (raises, "✗ Not yet. With WithoutSmallReviews and the history `shipped` it raises NondeterminismError"),
        pytest.param(
            without_the_converter,
            "✗ Not yet. With OrderWorkflow and the history `shipped` it should return True",
            marks=pytest.mark.filterwarnings("ignore"),  # the SDK warns of just this mistake
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_check_of_a_replay_function_names_each_mistake(
    goes_on: Callable[[type, WorkflowHistory], Awaitable[Any]], says: str
) -> None:
    said = str(lab.check_goes_on(goes_on, HISTORIES))
    assert said.startswith(says)
    assert said.startswith("✓") or "Hint: " in said


async def nothing(workflow: type) -> None:
    pass


async def only_with_a_workflow(workflow: type) -> None:
    assert hasattr(workflow, "__temporal_workflow_definition")


async def fails_whatever_comes(workflow: type) -> None:
    raise AssertionError("no")


async def fails_with_the_wrong_one(workflow: type) -> None:
    assert workflow is OrderWorkflow


async def without_a_look_at_the_deadline(workflow: type) -> None:
    assert workflow is not WithoutSmallReviews


async def without_a_look_at_its_end(workflow: type) -> None:
    assert workflow not in (WithoutSmallReviews, SilenceIsConsent)


@pytest.mark.parametrize(
    ("test", "says"),
    [
        (fails_with_the_wrong_one, "✓ Right"),
        (nothing, "✗ Not yet. It passes with every class, even with one that is not a workflow"),
        (only_with_a_workflow, "✗ Not yet. It passes with WithoutSmallReviews, too"),
        (without_a_look_at_the_deadline, "✗ Not yet. It passes with a workflow that approves an order after"),
        (without_a_look_at_its_end, "✗ Not yet. It passes with a workflow that just ends after three days"),
        (fails_whatever_comes, "✗ Not yet. It fails with OrderWorkflow, where it must pass: AssertionError no."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_check_of_a_learners_test_names_each_mistake(test: Callable[[type], Awaitable[None]], says: str) -> None:
    said = str(lab.check_test(test))
    assert said.startswith(says)
    assert said.startswith("✓") or "Hint: " in said


NEVER_CHARGED = """
async def never_charged(workflow):
    async with mocked(workflow) as (server, calls):
        handle = await start(server.client, "unseen")
        await lab.wait_until(lambda: "validate_order" in calls, "the order to be validated")
        await server.skip(days=4)
        await handle.result()
        assert "charge_payment" not in calls
"""


def test_a_learners_test_that_ignores_the_end_of_the_order_is_named(lab_servers: LabServers) -> None:
    """It fails with each workflow that charges, and passes with one that just ends."""
    code = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    imports, of_an_order, mock, mocked = code[:4]
    names: dict[str, Any] = {}
    for source in (imports.partition("lab.quiet()")[0], of_an_order, mock, mocked, NEVER_CHARGED):
        exec(source, names)
    said = str(lab.check_test(names["never_charged"]))
    assert said.startswith("✗ Not yet. It passes with a workflow that just ends after three days.")


def test_a_replay_that_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def waits_for_ever(workflow: type, history: WorkflowHistory) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(nb09_testing, "TIMEOUT", 0.1)
    says = str(lab.check_goes_on(waits_for_ever, HISTORIES))
    assert says.startswith("✗ Not yet. With OrderWorkflow and the history `shipped` it does not end within")


def test_a_learners_test_that_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def waits_for_three_days(workflow: type) -> None:
        await fails_with_the_wrong_one(workflow)
        await asyncio.sleep(3 * 24 * 3600)

    monkeypatch.setattr(nb09_testing, "TIMEOUT", 0.1)
    says = str(lab.check_test(waits_for_three_days))
    assert says.startswith("✗ Not yet. It fails with OrderWorkflow, where it must pass: it did not end within")


RIGHT = """
from datetime import timedelta
from temporalio import workflow
from order_lifecycle.lessons.returns import refund

@workflow.defn
class ParcelReturn:
    def __init__(self):
        self._arrived = False

    @workflow.signal
    def parcel_arrived(self):
        self._arrived = True

    @workflow.run
    async def run(self, order_id: str) -> str:
        try:
            await workflow.wait_condition(lambda: self._arrived, timeout=timedelta(days=14))
        except TimeoutError:
            return "given up"
        await workflow.execute_activity(refund, order_id, start_to_close_timeout=timedelta(seconds=5))
        return "refunded"
"""
WAIT = "await workflow.wait_condition(lambda: self._arrived, timeout=timedelta(days=14))"
REFUND = "await workflow.execute_activity(refund, order_id, start_to_close_timeout=timedelta(seconds=5))"


def changed(old: str, new: str, code: str = RIGHT) -> str:
    assert code.count(old) == 1
    return code.replace(old, new)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (..., "Expected a str, got ellipsis. Hint:"),
        ("", "The module has no workflow ParcelReturn. Hint: `@workflow.defn`"),
        (changed("@workflow.defn\n", ""), "The module has no workflow ParcelReturn. Hint: `@workflow.defn`"),
        (changed("    @workflow.run\n", ""), "A worker cannot use it: ValueError: "),
        (changed("self._arrived = True", "self._arrived = "), "Python cannot read it: invalid syntax (line 13). Hint:"),
        (changed("from temporalio import workflow", ""), "A worker cannot use it: NameError: name 'workflow' is not"),
    ],
)
def test_a_module_that_no_worker_can_use_is_named(code: object, says: str) -> None:
    said = str(lab.check_return(code))
    assert said.startswith(f"✗ Not yet. {says}")
    assert said.startswith("✓") or "Hint: " in said


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")  # Python's word for one of these mistakes
@pytest.mark.parametrize(
    ("code", "says"),
    [
        (RIGHT, "✓ Right"),
        (
            changed(", timeout=timedelta(days=14)", ""),
            "✗ Not yet. No parcel came in 15 days, but it still waits. Hint: `wait_condition` has an argument",
        ),
        (
            changed("        try:\n", f"        {REFUND}\n        try:\n", changed(REFUND, "pass")),
            "✗ Not yet. At the start it refunds, but no parcel has come. Hint: first `await` the",
        ),
        (changed("days=14", "days=7"), "✗ Not yet. After 13 days it has ended, with 'given up'. Hint:"),
        (
            changed(WAIT, f"await workflow.sleep(timedelta(days=14))\n            {WAIT}"),
            "✗ Not yet. The parcel was there, but it still waits. Hint: a method `parcel_arrived`",
        ),
        (changed("@workflow.signal", ""), "✗ Not yet. The parcel was there, but it still waits. Hint: a method"),
        (
            changed("        try:\n", "        self._arrived = False\n        try:\n"),
            "✗ Not yet. The parcel was there, but it still waits. Hint: a method `parcel_arrived`",
        ),
        (
            changed("except TimeoutError", "except ValueError"),
            "✗ Not yet. No parcel came in 15 days, but it fails: TimeoutError. Hint: at its timeout,",
        ),
        (changed(REFUND, "pass"), "✗ Not yet. The parcel was there, but it refunded 0 times. Hint:"),
        (changed('return "refunded"', ""), "✗ Not yet. The parcel was there, but it returns None. Hint: `return"),
        (
            changed("refund, order_id, ", "refund, order_id, order_id, "),
            "✗ Not yet. The parcel was there, but it fails:",
        ),
        (changed(", order_id: str", ""), "✗ Not yet. The parcel was there, but it fails: NameError: name 'order_id'"),
        (changed("order_id: str", "order_id: int"), "✗ Not yet. At the start it fails: TypeError: "),
        (
            changed(REFUND, REFUND.replace("await ", "")),
            "✗ Not yet. The parcel was there, but it refunded 0",
        ),
        (
            changed('return "given up"', REFUND),
            "✗ Not yet. No parcel came in 15 days, but it returns 'refunded'. Hint:",
        ),
        (
            changed('return "given up"', f'{REFUND}\n            return "given up"'),
            "✗ Not yet. No parcel came in 15 days, but it refunded. Hint: `return`",
        ),
        (
            changed(
                "        try:\n", "        datetime.now()\n        try:\n", changed("import timedelta", "import *")
            ),
            "✗ Not yet. At the start it fails: RestrictedWorkflowAccessError: Cannot access datetime.datetime.now."
            "__call__ from inside a workflow. Hint: put what can differ at a replay",
        ),
    ],
)
def test_the_check_of_the_return_workflow_names_each_mistake(lab_servers: LabServers, code: str, says: str) -> None:
    said = str(lab.check_return(code))
    assert said.startswith(says)
    assert said.startswith("✓") or "Hint: " in said


def test_without_servers_the_check_does_not_blame_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_servers", None)
    with pytest.raises(lab.LabError, match="no servers yet"):
        lab.check_return(RIGHT)
