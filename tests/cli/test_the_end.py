"""A request to an order that has just ended is reported as "too late", however the server says so."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from order_lifecycle.cli import calls
from order_lifecycle.cli.calls import answer_from
from order_lifecycle.cli.errors import CommandError
from order_lifecycle.client import connect, start_order, workflow_id
from order_lifecycle.domain import Policy, UpdateResult, parse_order
from order_lifecycle.settings import Settings

ITEMS = '[{"name":"apple","qty":1,"price":5.00}]'
ADDRESS = '{"address":"575 Lake Dr.","city":"Columbus"}'

pytestmark = pytest.mark.usefixtures("in_shop")


async def race(client: Client, order_id: str, requests: int) -> list[str]:
    """Send so many Updates at once, of which the first ends the order, and return the answers."""
    handle = await start_order(client, parse_order(order_id, f"pay-{order_id}", ITEMS, ADDRESS), Policy())

    async def one(number: int) -> str:
        name: str
        arguments: list[str]
        name, arguments = ("cancel", ["enough"]) if number % 2 == 0 else ("approve", [])
        update = handle.execute_update(name, args=arguments, result_type=UpdateResult)
        try:
            return str((await answer_from(update, order_id)).message)
        except CommandError as refused:
            return str(refused)

    return await asyncio.gather(*map(one, range(requests)))


async def said_in_races(prefix: str, races: int, requests: int) -> list[str]:
    client = await connect(Settings())
    return [said for number in range(races) for said in await race(client, f"{prefix}-{number}", requests)]


async def test_requests_that_race_with_the_end_are_never_called_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "ANSWER_TIMEOUT", calls.ANSWER_TIMEOUT * 6)  # on a busy machine
    said = await said_in_races("race", races=6, requests=12)
    assert [answer for answer in said if "there is no order" in answer or "did not" in answer] == []
    assert any("too late" in answer for answer in said)


@pytest.mark.proof
@pytest.mark.timeout(600)
async def test_720_requests_that_race_with_the_end_are_never_called_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "ANSWER_TIMEOUT", calls.ANSWER_TIMEOUT * 6)
    said = await said_in_races("proof", races=60, requests=12)
    assert len(said) == 720
    assert [answer for answer in said if "there is no order" in answer or "did not" in answer] == []


def rpc(message: str, status: RPCStatusCode) -> RPCError:
    return RPCError(message, status, b"")


ENDS: dict[str, BaseException] = {
    "aborted": rpc("workflow update was aborted by closing workflow", RPCStatusCode.NOT_FOUND),
    "aborted, with its own status": rpc("workflow update was aborted by closing workflow", RPCStatusCode.ABORTED),
    "completed": rpc("workflow execution already completed", RPCStatusCode.NOT_FOUND),
    "not found": rpc("workflow not found for ID: order-ended", RPCStatusCode.NOT_FOUND),
    "closing": rpc("workflow is closing", RPCStatusCode.FAILED_PRECONDITION),
    "closing at this moment": rpc(
        "workflow operation can not be applied because workflow is closing", RPCStatusCode.RESOURCE_EXHAUSTED
    ),
    "accepted, then ended": WorkflowUpdateFailedError(
        ApplicationError(
            "Workflow Update failed because the Workflow completed before the Update completed.",
            type="AcceptedUpdateCompletedWorkflow",
        )
    ),
}


@pytest.mark.parametrize("how", ENDS)
async def test_each_answer_of_an_ended_order_is_reported_as_too_late(how: str) -> None:
    client = await connect(Settings())
    order_id = f"ended-{[*ENDS].index(how)}"
    handle = await start_order(client, parse_order(order_id, f"pay-{order_id}", ITEMS, ADDRESS), Policy())
    await handle.execute_update("cancel", "enough")
    await handle.result()

    async def answer() -> UpdateResult:
        raise ENDS[how]

    with pytest.raises(CommandError, match=f"too late: order {order_id} has ended"):
        await answer_from(answer(), order_id)


@pytest.mark.parametrize("how", ["aborted", "not found"])
async def test_an_unknown_order_is_reported_as_unknown(how: str) -> None:
    async def answer() -> UpdateResult:
        raise ENDS[how]

    with pytest.raises(CommandError, match="there is no order nobody"):
        await answer_from(answer(), "nobody")


async def test_a_running_order_is_not_reported_as_ended() -> None:
    client = await connect(Settings())
    handle = await start_order(client, parse_order("runs-on", "pay-runs-on", ITEMS, ADDRESS), Policy())

    async def answer() -> UpdateResult:
        raise ENDS["aborted"]

    with pytest.raises(CommandError, match=r"order runs-on did not take the request: .* Send it again"):
        await answer_from(answer(), "runs-on")
    await handle.terminate()
    assert handle.id == workflow_id("runs-on")


async def test_a_timeout_is_not_reported_as_an_interrupt() -> None:
    async def answer() -> UpdateResult:
        raise WorkflowUpdateRPCTimeoutOrCancelledError

    with pytest.raises(CommandError, match="did not answer within 10 s"):
        await answer_from(answer(), "slow")
