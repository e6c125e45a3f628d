"""Checks of the exercises about changes of code that orders are running on."""

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
    """What somebody would like to change in `lessons/deploy/v1_initial.py`."""

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
    """Are these the letters of the changes that need a patch? Each change is made, and a finished
    order replayed, which has been everywhere that an order can wait."""
    wrong = None
    if answer is ...:
        wrong = 'There is no answer yet. Hint: a set of letters, such as {"a", "b"}.'
    elif (
        isinstance(answer, str)
        or not isinstance(answer, Collection)
        or any(it not in [*CHANGES] for it in answer)
    ):
        wrong = (
            f"{answer!r} is no answer. "
            f'Hint: a set of letters from {", ".join(CHANGES)}, such as {{"a", "b"}}.'
        )
    else:
        right = run_in_own_loop(_changes_that_stop_orders())
        named_too_much, left_out = sorted(set(answer) - right), sorted(right - set(answer))
        if named_too_much:
            letter = named_too_much[0]
            wrong = (
                f"With {letter} ({CHANGES[letter].what}) "
                f"a replay of an old order goes through. {HINT}"
            )
        elif left_out:
            letter = left_out[0]
            wrong = f"With {letter} ({CHANGES[letter].what}) a replay of an old order stops. {HINT}"
    return Check(
        wrong,
        "Each change was made and an old order replayed: these stop it, and the others do not.",
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
    """Put before the line that ships, do these lines pack every order that comes there, and let
    those go on that had passed that place before?"""
    wrong = None
    if not isinstance(lines, str) or not lines.strip(" \n."):
        wrong = 'There are no lines yet. Hint: they begin with `if workflow.patched("…"):`.'
    else:
        indented = textwrap.indent(textwrap.dedent(lines).strip(), " " * 8) + "\n"
        wrong = run_in_own_loop(_fault_of(indented))
    return Check(
        wrong, "Orders past that place go on, and every order that comes there now is packed."
    )


async def _fault_of(lines: str) -> str | None:
    old = await _life(v1_initial.SmallOrder)
    try:
        with _with_change(SHIP, lines + SHIP) as workflow:
            life = await _life(workflow)  # first: an error in the lines is told more clearly by it
            if why := await what_stops(workflow, old):
                return (
                    f"An order that was past that place stops: {why}. "
                    "Hint: `workflow.patched` says which is which."
                )
            new = steps_of(life)
            wanted = ["receive", "charge", "pack", "ship"]
            if "pack" not in new:
                return (
                    "A new order is not packed. Hint: for a new order `workflow.patched` is True; "
                    "is the step under that `if`, and is it awaited?"
                )
            if new != wanted:
                return (
                    f"A new order does {', '.join(new)}; wanted is {', '.join(wanted)}. "
                    "Hint: one step."
                )
            if why := await what_stops(workflow, life):
                return f"A new order stops as soon as it is replayed: {why}. {HINT}"
            return None
    except SyntaxError as error:
        return (
            f"Python cannot read the lines: {error.msg}. "
            "Hint: write them as they would stand in the method."
        )
    except WorkflowFailureError as error:
        hint = (
            'it is `workflow.patched("…")`'
            if "patch" in str(error.cause)
            else "the step is asked for as in the line below yours, with `deploy.pack`"
        )
        return f"A new order fails: {reason(error)}. Hint: {hint}."


def check_build(workflow_id: str, build: str) -> Check:
    """Is this order on that build?"""
    found = run_in_own_loop(_build_of(workflow_id))
    wrong = None
    if found is None:
        wrong = (
            f"There is no workflow {workflow_id}. "
            "Hint: promote the build first, then start the order."
        )
    elif not found:
        wrong = (
            f"{workflow_id} is on no build. "
            "Hint: has a worker taken it? `lab.wait_until(…)`, as above."
        )
    elif found != build:
        wrong = (
            f"{workflow_id} is on build {found}, and stays there. "
            "Hint: `lab.promote` first, then a new order; "
            "for one of the same name, `terminate()` this one before."
        )
    return Check(wrong, f"{workflow_id} is on build {build}.")


async def _build_of(workflow_id: str) -> str | None:
    """Empty for a workflow without one, None where there is no such workflow."""
    try:
        described = await (await connect()).get_workflow_handle(workflow_id).describe()
    except RPCError:
        return None
    info = described.raw_description.workflow_execution_info
    return info.versioning_info.deployment_version.build_id


async def _life(workflow: type) -> WorkflowHistory:
    """The history of one order, from its start to its end, with a worker of this code alone. Raises
    WorkflowFailureError."""
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
            # A mistake in somebody's lines ends the order at once.
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
    """Whether it has come to the review: only that has a timer."""
    history = await order.fetch_history()
    return any(event.HasField("timer_started_event_attributes") for event in history.events)


def steps_of(history: WorkflowHistory) -> list[str]:
    """The activities that it asked for, in order."""
    scheduled = (event.activity_task_scheduled_event_attributes for event in history.events)
    return [each.activity_type.name for each in scheduled if each.activity_type.name]


@contextmanager
def _with_change(old: str, new: str) -> Iterator[type]:
    """Give the workflow of `v1_initial` with that change made in a copy of its source."""
    source = inspect.getsource(v1_initial)
    assert source.count(old) == 1
    with module_of(source.replace(old, new)) as module:
        yield module.SmallOrder
