"""Check the exercises of notebook 10: which changes need a patch, a patch, and a build."""

from __future__ import annotations

import inspect
import os
import textwrap
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowHistory
from temporalio.service import RPCError
from temporalio.worker import Worker

from order_lifecycle.client import connect
from order_lifecycle.lab.checks.base import Check
from order_lifecycle.lab.checks.temporary_module import module_of
from order_lifecycle.lab.replaying import what_stops
from order_lifecycle.lab.waiting import run_in_own_loop, wait_until
from order_lifecycle.lessons import deploy
from order_lifecycle.lessons.deploy import v1_initial
from order_lifecycle.workflows.attempts import reason

REVIEW = "        await workflow.wait_condition("
CHARGE = (
    "        await workflow.execute_activity("
    "deploy.charge, order_id, start_to_close_timeout=limit)\n"
)
SHIP = CHARGE.replace("charge", "ship")
HINT = "Hint: does the workflow still ask Temporal for the same things, in the same order?"

_numbers = count(1)


@dataclass(frozen=True)
class Change:
    """A change to `lessons/deploy/v1_initial.py`: what it does, and the old and the new code."""

    what: str
    old: str
    new: str


CHANGES = {
    "a": Change(
        "a line in the log before the review",
        REVIEW,
        '        workflow.logger.info("waiting")\n' + REVIEW,
    ),
    "b": Change(
        "seven days for the review instead of three", "timedelta(days=3)", "timedelta(days=7)"
    ),
    "c": Change("ship first, charge afterwards", CHARGE + SHIP, SHIP + CHARGE),
    "d": Change(
        "a pause of a minute before the charge",
        CHARGE,
        "        await workflow.sleep(timedelta(minutes=1))\n" + CHARGE,
    ),
}


def check_changes(answer: Any) -> Check:
    """Check that the answer has the letters of the changes that need a patch.

    This makes each change and replays a finished order with it. The order's history passes every
    point where an order can wait.
    """
    wrong = None
    if answer is ...:
        wrong = 'There is no answer yet. Hint: a set of letters, such as {"a", "b"}.'
    elif (
        isinstance(answer, str)
        or not isinstance(answer, Collection)
        or any(it not in [*CHANGES] for it in answer)
    ):
        wrong = (
            f"{answer!r} is not a set of these letters. "
            f'Hint: choose from {", ".join(CHANGES)}, such as {{"a", "b"}}.'
        )
    else:
        right = run_in_own_loop(_changes_that_stop_orders())
        named_too_much, left_out = sorted(set(answer) - right), sorted(right - set(answer))
        if named_too_much:
            letter = named_too_much[0]
            wrong = (
                f"With {letter} ({CHANGES[letter].what}) "
                f"the replay of an old order succeeds. {HINT}"
            )
        elif left_out:
            letter = left_out[0]
            wrong = (
                f"With {letter} ({CHANGES[letter].what}) the replay of an old order fails. {HINT}"
            )
    return Check(
        wrong,
        "With these changes the replay of an old order fails, and with the others it succeeds.",
    )


async def _changes_that_stop_orders() -> set[str]:
    history = await _life(v1_initial.SmallOrder)
    stop = set()
    for letter, change in CHANGES.items():
        with _with_change(change.old, change.new) as workflow:
            if await what_stops(workflow, history):
                stop.add(letter)
    return stop


def check_patch(lines: Any) -> Check:
    """Check the lines that are to pack an order, just before the line that ships it.

    They have to pack every order that comes there, and let those go on that have passed that place.
    """
    wrong = None
    if not isinstance(lines, str) or not lines.strip(" \n."):
        wrong = 'There are no lines yet. Hint: they begin with `if workflow.patched("…"):`.'
    else:
        indented = textwrap.indent(textwrap.dedent(lines).strip(), " " * 8) + "\n"
        wrong = run_in_own_loop(_fault_of(indented))
    return Check(
        wrong, "An order that has passed this place can go on, and every later one is packed."
    )


async def _fault_of(lines: str) -> str | None:
    old = await _life(v1_initial.SmallOrder)
    try:
        with _with_change(SHIP, lines + SHIP) as workflow:
            life = await _life(workflow)  # first, because it reports an error in the lines better
            if why := await what_stops(workflow, old):
                return (
                    f"An order that has passed this place cannot go on: {why}. "
                    "Hint: `workflow.patched` tells old orders from new ones."
                )
            new = steps_of(life)
            wanted = ["receive", "charge", "pack", "ship"]
            if "pack" not in new:
                return (
                    "A new order is not packed. Hint: for a new order `workflow.patched` is True. "
                    "Is the step inside that `if`, and do you await it?"
                )
            if new != wanted:
                return (
                    f"The steps of a new order are {', '.join(new)}, "
                    f"and should be {', '.join(wanted)}. Hint: add one step."
                )
            if why := await what_stops(workflow, life):
                return f"A new order cannot be replayed: {why}. {HINT}"
            return None
    except SyntaxError as error:
        return (
            f"Python cannot read the lines: {error.msg}. "
            "Hint: write them as you would write them in the method."
        )
    except WorkflowFailureError as error:
        hint = (
            'the function is `workflow.patched("…")`'
            if "patch" in str(error.cause)
            else "write the step as in the line below yours, with `deploy.pack`"
        )
        return f"A new order fails: {reason(error)}. Hint: {hint}."


def check_build(workflow_id: str, build: str) -> Check:
    """Check that this workflow runs on that build."""
    found = run_in_own_loop(_build_of(workflow_id))
    wrong = None
    if found is None:
        wrong = (
            f"There is no workflow {workflow_id}. "
            "Hint: promote the build first, then start the order."
        )
    elif not found:
        wrong = (
            f"{workflow_id} has no build yet. "
            "Hint: has a worker taken it? Wait with `lab.wait_until(…)`, as above."
        )
    elif found != build:
        wrong = (
            f"{workflow_id} is on build {found}, and stays there. "
            "Hint: first `lab.promote`, then start a new order. "
            "To use the same ID again, `terminate()` this order first."
        )
    return Check(wrong, f"{workflow_id} is on build {build}.")


async def _build_of(workflow_id: str) -> str | None:
    """Return the workflow's build, "" if it has none, or None if there is no such workflow."""
    try:
        described = await (await connect()).get_workflow_handle(workflow_id).describe()
    except RPCError:
        return None
    info = described.raw_description.workflow_execution_info
    return info.versioning_info.deployment_version.build_id


async def _life(workflow: type) -> WorkflowHistory:
    """Run one order to its end with a worker of this code, and return its history.

    Raises:
        WorkflowFailureError: If the order fails.
    """
    client = await connect()
    name = f"check-deploy-{os.getpid()}-{next(_numbers)}"
    with ThreadPoolExecutor(1) as threads:
        worker = Worker(
            client,
            task_queue=name,
            workflows=[workflow],
            activities=deploy.ACTIVITIES,
            activity_executor=threads,
            max_concurrent_activities=1,
            # With this, a mistake in the learner's lines fails the order instead of its task.
            workflow_failure_exception_types=[Exception],
        )
        async with worker:
            handle = await client.start_workflow(
                "SmallOrder",
                name,
                id=name,
                task_queue=name,
                execution_timeout=timedelta(seconds=10),
            )
            await wait_until(lambda: _waits(handle), "an order to wait for its review", timeout=5)
            await handle.signal("approve_order")
            await handle.result()
    return await handle.fetch_history()


async def _waits(order: WorkflowHandle[Any, Any]) -> Any:
    """Return True if the order waits for its review: nothing else in it starts a timer."""
    history = await order.fetch_history()
    return any(event.HasField("timer_started_event_attributes") for event in history.events)


def steps_of(history: WorkflowHistory) -> list[str]:
    """Return the names of the activities that the workflow scheduled, in order."""
    scheduled = (event.activity_task_scheduled_event_attributes for event in history.events)
    return [each.activity_type.name for each in scheduled if each.activity_type.name]


@contextmanager
def _with_change(old: str, new: str) -> Iterator[type]:
    """Yield the workflow of `v1_initial`, with `old` replaced by `new` in a copy of its source."""
    source = inspect.getsource(v1_initial)
    assert source.count(old) == 1
    with module_of(source.replace(old, new)) as module:
        yield module.SmallOrder
