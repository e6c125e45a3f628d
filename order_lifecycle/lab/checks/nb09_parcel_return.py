"""Check the exercise of notebook 09 in which you write a workflow, on a time-skipping server."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from itertools import count
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.worker import Worker

from order_lifecycle.lab.checks.base import Check
from order_lifecycle.lab.checks.nb10_changing_running_code import steps_of
from order_lifecycle.lab.checks.temporary_module import module_of
from order_lifecycle.lab.replaying import what_stops
from order_lifecycle.lab.second_server import TimeSkipping, time_skipping
from order_lifecycle.lab.servers import running_servers
from order_lifecycle.lab.waiting import LabError, run_in_own_loop, wait_until
from order_lifecycle.lessons.returns import refund
from order_lifecycle.temporal_compat import is_workflow

NAME = "ParcelReturn"
TIMEOUT = 10.0  # s, for a workflow task or a step, each of which takes milliseconds
WAITS = object()  # instead of a result: the workflow still waits
# What a worker has been asked to do, and what says that it is done.
BEGUN_AND_DONE = [
    (EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED),
    (EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED),
]

REFUNDED, GIVEN_UP = "refunded", "given up"
STILL_WAITS = {
    REFUNDED: "a method `parcel_arrived`, marked `@workflow.signal`, "
    "sets a flag that the wait checks. Make the flag in `__init__`, not in `run`, "
    "because a signal may arrive before `run` begins",
    GIVEN_UP: "`wait_condition` has an argument `timeout`",
}
FAILS = {
    REFUNDED: "`await workflow.execute_activity(refund, …, start_to_close_timeout=…)`",
    GIVEN_UP: "at its timeout, `wait_condition` raises TimeoutError",
}
BEGINS = "`run` takes the order's ID, a string, and uses only what the module has imported"
REPLAYED = (
    "put what can differ at a replay into an activity; "
    "for times there are `workflow.now()` and `workflow.sleep(…)`"
)

Return = WorkflowHandle[Any, Any]

_numbers = count(1)


class _StuckError(Exception):
    """A workflow task or a step of the learner's workflow does not end."""


def check_return(code: object) -> Check:
    """Check that this text is a module with the workflow `ParcelReturn`.

    The workflow has to wait at most 14 days for the signal `parcel_arrived`, and then refund or
    give up.
    """
    wrong = (
        _fault_of(code)
        if isinstance(code, str)
        else f'Expected a str, got {type(code).__name__}. Hint: a module, between `"""` and `"""`.'
    )
    return Check(
        wrong,
        "It refunds a parcel once when it comes, and after 14 days it stops waiting.",
    )


def _fault_of(code: str) -> str | None:
    try:
        with module_of(code) as module:
            workflow: Any = getattr(module, NAME, None)
            if not is_workflow(workflow):
                return (
                    f"The module has no workflow {NAME}. "
                    f"Hint: `@workflow.defn`, in the line above `class {NAME}:`."
                )
            return run_in_own_loop(_lives_of(workflow), "two weeks in the life of three parcels")
    except SyntaxError as error:
        return (
            f"Python cannot read it: {error.msg} (line {error.lineno}). "
            "Hint: write it as you would write it in a file."
        )
    except _StuckError:
        return "The workflow does not go on. Hint: await everything that takes time in a workflow."
    except LabError:
        raise
    except Exception as error:
        # The module, one of its decorators or the worker has raised it.
        why = error.__cause__ or error
        return (
            f"A worker cannot use it: {type(why).__name__}: {why}. "
            "Hint: read `EndlessOrder` in 07, or the rules above."
        )


@cache
def _server(database_url: str) -> TimeSkipping:
    """Return a time-skipping server. All checks of a notebook share it, because it starts slowly.

    Args:
        database_url: The notebook's database, so that a restarted notebook gets a new server.
    """
    return time_skipping()


async def _lives_of(workflow: type) -> str | None:
    server = _server(running_servers().database_url)
    client = await Client.connect(server.temporal_host)
    parcels: list[Return] = []
    queue = f"returns-{next(_numbers)}"
    try:
        with ThreadPoolExecutor(1) as threads:
            worker = Worker(
                client,
                task_queue=queue,
                workflows=[workflow],
                activities=[refund],
                activity_executor=threads,
                max_concurrent_activities=1,
                # With this, a mistake in the workflow fails it instead of its task.
                workflow_failure_exception_types=[Exception],
            )
            async with worker:
                for signal in (None, None, "parcel_arrived"):
                    name = f"{queue}-{len(parcels)}"
                    parcel = await client.start_workflow(
                        NAME, name, id=name, task_queue=queue, start_signal=signal
                    )
                    parcels.append(parcel)
                fault = await _first_fault(workflow, server, *parcels)
                # If a workflow is terminated during a step, the server never skips time again.
                for parcel in parcels:
                    with suppress(_StuckError):
                        await _rest(parcel)
                return fault
    finally:
        for parcel in parcels:
            with suppress(RPCError):  # the workflow has ended already
                await parcel.terminate()


async def _first_fault(
    workflow: type, server: TimeSkipping, never: Return, late: Return, early: Return
) -> str | None:
    """Say what the workflow does wrong with three parcels, or None.

    One parcel never comes, one comes after 13 days, and one signal arrives before `run` begins.
    """
    if fault := await _too_soon(never, "At the start"):
        return fault
    if fault := await _wrong_end(early, REFUNDED, "The parcel was there"):
        return fault
    await _rest(late)
    await server.skip(days=13)
    if fault := await _too_soon(never, "After 13 days"):
        return fault
    await late.signal("parcel_arrived")
    if fault := await _wrong_end(late, REFUNDED, "The parcel came after 13 days"):
        return fault
    await server.skip(days=2)
    if fault := await _wrong_end(never, GIVEN_UP, "No parcel came in 15 days"):
        return fault
    for parcel in (never, late, early):
        if why := await what_stops(workflow, await parcel.fetch_history()):
            return (
                f"A worker cannot replay it: {why}. "
                "Hint: it must ask Temporal for the same things at every replay."
            )
    return None


async def _too_soon(parcel: Return, when: str) -> str | None:
    came = await _end(parcel)
    if "refund" in steps_of(await parcel.fetch_history()):
        return (
            f"{when} it refunds, but no parcel has come. Hint: first `await` the wait, then refund."
        )
    if isinstance(came, ApplicationError):
        hint = REPLAYED if came.type == "RestrictedWorkflowAccessError" else BEGINS
        return f"{when} it fails: {_words(came)}. Hint: {hint}."
    if came is not WAITS:
        return (
            f"{when} it has ended, with {came!r}. "
            "Hint: `await workflow.wait_condition(…, timeout=timedelta(days=14))`."
        )
    return None


async def _wrong_end(parcel: Return, wanted: str, when: str) -> str | None:
    came = await _end(parcel)
    refunds = steps_of(await parcel.fetch_history()).count("refund")
    if came is WAITS:
        return f"{when}, but it still waits. Hint: {STILL_WAITS[wanted]}."
    if isinstance(came, ApplicationError):
        return f"{when}, but it fails: {_words(came)}. Hint: {FAILS[wanted]}."
    if came != wanted:
        return f"{when}, but it returns {came!r}. Hint: `return {wanted!r}`."
    if wanted == REFUNDED and refunds != 1:
        return (
            f"{when}, but it refunded {refunds} times. "
            "Hint: `await workflow.execute_activity(…)`, once."
        )
    if wanted == GIVEN_UP and refunds:
        return f"{when}, but it refunded. Hint: `return` where the timeout is handled."
    return None


async def _end(parcel: Return) -> object:
    """Return what the workflow returned, or its failure, or WAITS if it still waits."""
    await _rest(parcel)
    if (await parcel.describe()).status is WorkflowExecutionStatus.RUNNING:
        return WAITS
    try:
        return await parcel.result()
    except WorkflowFailureError as error:
        return error.cause


async def _rest(parcel: Return) -> None:
    """Wait until the workflow has ended, or waits for a signal or a timer.

    Raises:
        _StuckError: If it does neither within TIMEOUT.
    """
    try:
        await wait_until(lambda: _rests(parcel), f"{parcel.id} to go on", TIMEOUT)
    except LabError:
        raise _StuckError from None


async def _rests(parcel: Return) -> Any:
    """Return True if the workflow has ended, or has neither a workflow task nor a step to do."""
    if (await parcel.describe()).status is not WorkflowExecutionStatus.RUNNING:
        return True
    happened = Counter(event.event_type for event in (await parcel.fetch_history()).events)
    return all(happened[begun] == happened[done] for begun, done in BEGUN_AND_DONE)


def _words(failure: ApplicationError) -> str:
    said = failure.failure.message if failure.failure else failure.message
    return f"{failure.type}: {said.partition('. ')[0]}" if said else f"{failure.type}"
