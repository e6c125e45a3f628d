"""The check of the exercise in which a workflow is written."""

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
TIMEOUT = 10.0  # s, for what takes a moment
WAITS = object()
BEGUN_AND_DONE = [
    (EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED),
    (EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED),
]

REFUNDED, GIVEN_UP = "refunded", "given up"
STILL_WAITS = {
    REFUNDED: "a method `parcel_arrived`, marked `@workflow.signal`, "
    "makes true what the wait looks at, and `__init__` makes it false, not `run`: "
    "a signal may be there before `run` begins",
    GIVEN_UP: "`wait_condition` has an argument `timeout`",
}
FAILS = {
    REFUNDED: "`await workflow.execute_activity(refund, …, start_to_close_timeout=…)`",
    GIVEN_UP: "when its time is over, `wait_condition` raises TimeoutError",
}
BEGINS = "`run` takes the order's id, which is a text, and uses what the module has imported"
REPLAYED = (
    "what may differ at a replay belongs in an activity; "
    "for time there are `workflow.now()` and `workflow.sleep(…)`"
)

Return = WorkflowHandle[Any, Any]

_numbers = count(1)


class _StuckError(Exception):
    """A worker cannot go on with it."""


def check_return(code: object) -> Check:
    """Is this text a module with a workflow `ParcelReturn`, which waits for the signal
    `parcel_arrived`, for 14 days at most, and then refunds or gives up?"""
    wrong = (
        _fault_of(code)
        if isinstance(code, str)
        else 'It is no text. Hint: a module, between `"""` and `"""`.'
    )
    return Check(
        wrong,
        "A parcel that comes is refunded once, and after 14 days nobody waits for it any more.",
    )


def _fault_of(code: str) -> str | None:
    try:
        with module_of(code) as module:
            workflow: Any = getattr(module, NAME, None)
            if not is_workflow(workflow):
                return (
                    f"There is no workflow {NAME} in it. "
                    f"Hint: `@workflow.defn`, in the line above `class {NAME}:`."
                )
            return run_in_own_loop(_lives_of(workflow), "two weeks in the life of three parcels")
    except SyntaxError as error:
        return (
            f"Python cannot read it: {error.msg} (line {error.lineno}). "
            "Hint: write it as it would stand in a file."
        )
    except _StuckError:
        return (
            "Its worker cannot go on with it. Hint: whatever takes time in a workflow is awaited."
        )
    except LabError:
        raise
    except Exception as error:
        # What the module raises, or the decorators in it, or a worker that looks at it.
        why = error.__cause__ or error
        return (
            f"A worker cannot use it: {type(why).__name__}: {why}. "
            "Hint: read `EndlessOrder` in 07, or the rules above."
        )


@cache
def _server(database_url: str) -> TimeSkipping:
    """One server for all the checks of a notebook: to start it takes longer than they do."""
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
                workflow_failure_exception_types=[Exception],  # a mistake in it ends it at once
            )
            async with worker:
                for signal in (None, None, "parcel_arrived"):
                    name = f"{queue}-{len(parcels)}"
                    parcel = await client.start_workflow(
                        NAME, name, id=name, task_queue=queue, start_signal=signal
                    )
                    parcels.append(parcel)
                fault = await _first_fault(workflow, server, *parcels)
                # Terminated in the middle of a step, a parcel would keep the server from ever
                # skipping time again.
                for parcel in parcels:
                    with suppress(_StuckError):
                        await _rest(parcel)
                return fault
    finally:
        for parcel in parcels:
            with suppress(RPCError):  # that it has ended
                await parcel.terminate()


async def _first_fault(
    workflow: type, server: TimeSkipping, never: Return, late: Return, early: Return
) -> str | None:
    """One parcel never comes, one after 13 days, and of one the signal was there before `run`
    began."""
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
                f"A worker that replays it stops: {why}. "
                "Hint: it must ask for the same things at every replay."
            )
    return None


async def _too_soon(parcel: Return, when: str) -> str | None:
    came = await _end(parcel)
    if "refund" in steps_of(await parcel.fetch_history()):
        return (
            f"{when} the money is given back, and no parcel has come. "
            "Hint: first `await` the wait, then refund."
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
        return f"{when}, and it still waits. Hint: {STILL_WAITS[wanted]}."
    if isinstance(came, ApplicationError):
        return f"{when}, and it fails: {_words(came)}. Hint: {FAILS[wanted]}."
    if came != wanted:
        return f"{when}, and it returns {came!r}. Hint: `return {wanted!r}`."
    if wanted == REFUNDED and refunds != 1:
        return (
            f"{when}, and the money was given back {refunds} times. "
            "Hint: `await workflow.execute_activity(…)`, once."
        )
    if wanted == GIVEN_UP and refunds:
        return f"{when}, and the money was given back. Hint: `return` where the time is over."
    return None


async def _end(parcel: Return) -> object:
    """What it returns, or its failure; WAITS if it does."""
    await _rest(parcel)
    if (await parcel.describe()).status is WorkflowExecutionStatus.RUNNING:
        return WAITS
    try:
        return await parcel.result()
    except WorkflowFailureError as error:
        return error.cause


async def _rest(parcel: Return) -> None:
    """Wait until it has ended, or waits. Raises _StuckError if its worker cannot go on with it."""
    try:
        await wait_until(lambda: _rests(parcel), f"{parcel.id} to go on", TIMEOUT)
    except LabError:
        raise _StuckError from None


async def _rests(parcel: Return) -> Any:
    """No move of it and no step is under way."""
    if (await parcel.describe()).status is not WorkflowExecutionStatus.RUNNING:
        return True
    happened = Counter(event.event_type for event in (await parcel.fetch_history()).events)
    return all(happened[begun] == happened[done] for begun, done in BEGUN_AND_DONE)


def _words(failure: ApplicationError) -> str:
    said = failure.failure.message if failure.failure else failure.message
    return f"{failure.type}: {said.partition('. ')[0]}" if said else f"{failure.type}"
