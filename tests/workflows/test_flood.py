"""A flood of signals does not keep an order from its refund, and the record of late signals stays short."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from order_lifecycle.cli.repair import repair
from order_lifecycle.client import connect as connect_to_temporal
from order_lifecycle.domain import Address, OrderResult, OrderState
from order_lifecycle.reconciliation import compare_with_temporal
from order_lifecycle.settings import Addresses, Settings
from order_lifecycle.stack.stack import Stack
from order_lifecycle.workflows import records
from order_lifecycle.workflows.order import OrderWorkflow
from order_lifecycle.workflows.records import LATE_ONE_BY_ONE, LONGEST_LINE
from tests.support.shop import Handle, Shop, open_shop
from tests.support.waiting import until

TOO_MUCH = "too many messages, or too large ones, were sent to it"
LARGE = 64_000  # bytes; our own server takes 65,536 in one message
# Too many or too large; the order has ended; it ends at this moment ("workflow is closing").
REFUSED = (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.NOT_FOUND, RPCStatusCode.RESOURCE_EXHAUSTED)


@pytest.fixture
def shop(dev_shop: Shop) -> Shop:
    return dev_shop


def json(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=text.encode())


def address(number: int) -> str:
    return Address(address=f"{number} Lake Dr.", city="Temp", state="AL", zipcode="43561").model_dump_json()


async def send(order: Handle, *signals: tuple[str, str | None], at_a_time: int = 20) -> int:
    """Send these signals, each with that argument. Return how many the server took."""
    places = asyncio.Semaphore(at_a_time)

    async def one(name: str, argument: str | None) -> bool:
        async with places:
            try:
                await order._client.workflow_service.signal_workflow_execution(
                    SignalWorkflowExecutionRequest(
                        namespace=order._client.namespace,
                        workflow_execution=WorkflowExecution(workflow_id=order.id),
                        signal_name=name,
                        input=Payloads(payloads=[] if argument is None else [json(argument)]),
                        request_id=str(uuid.uuid4()),
                    )
                )
            except RPCError as error:
                if error.status not in REFUSED:
                    raise
                return False
            return True

    return sum(await asyncio.gather(*(one(*signal) for signal in signals)))


async def charged(shop: Shop, name: str) -> Handle:
    """Return an order that was charged and waits for shipping. No worker runs any more."""
    async with shop.working("order"):
        order = await shop.start(name)
        await order.signal(OrderWorkflow.approve_order)
        await until(lambda: shop.status(order), lambda status: status.step == "shipping")
    return order


@asynccontextmanager
async def dispatched(shop: Shop, name: str) -> AsyncIterator[Handle]:
    """Yield a dispatched order. The workflows' worker is away until the context ends."""
    async with shop.working("order activities", "shipping"):
        async with shop.working("order workflows"):
            shop.outside.hold("ship_order")
            order = await shop.start(name)
            await order.signal(OrderWorkflow.approve_order)
            await until(lambda: shop.outside.reached("ship_order"))
        yield order
        shop.outside.let_go()
        async with shop.working("order workflows"):
            assert (await order.result()).state is OrderState.SHIPPED


# More than the activities that Temporal lets a workflow have at a time, which is 2,000.
MANY = 2_010


async def test_thousands_of_approvals_do_not_delay_a_refund(shop: Shop, name: str) -> None:
    order = await charged(shop, name)
    assert await send(order, ("cancel_order", '"changed my mind"')) == 1
    assert await send(order, *[("approve_order", None)] * MANY) == MANY
    async with shop.working("order"):
        assert (await order.result()).reason == "changed my mind"
    assert shop.payments(name) == [("refunded", "5.00")]
    assert shop.told("late_signal", name) == [
        *[{"reason": "approve_order"}] * LATE_ONE_BY_ONE,
        {"reason": f"{MANY - LATE_ONE_BY_ONE} more signals came too late"},
    ]


@pytest.mark.proof
async def test_thousands_of_late_cancels_do_not_delay_the_end(shop: Shop, name: str) -> None:
    async with dispatched(shop, name) as order:
        assert await send(order, *[("cancel_order", '"too late"')] * MANY) == MANY
    assert shop.payments(name) == [("charged", "5.00")]
    assert len(shop.told("late_signal", name)) == LATE_ONE_BY_ONE + 1


async def test_after_many_changes_of_address_the_last_one_counts(shop: Shop, name: str) -> None:
    order = await charged(shop, name)
    await send(order, *(("update_address", address(number)) for number in range(300)), at_a_time=1)
    async with shop.working("order"):
        await until(lambda: shop.status(order), lambda status: status.address.address == "299 Lake Dr.")
        await order.signal(OrderWorkflow.cancel_order)
        await order.result()
    written = [*range(LONGEST_LINE - 1), 299]
    assert [told["address"] for told in shop.told("address_changed", name)] == [f"{n} Lake Dr." for n in written]


@pytest.mark.proof
async def test_a_running_worker_keeps_up_with_changes_of_address(shop: Shop, name: str) -> None:
    async with shop.working("order"):
        order = await shop.start(name)
        await send(order, *(("update_address", address(number)) for number in range(500)))
        await order.signal(OrderWorkflow.update_address, Address.model_validate_json(address(1000)))
        await until(lambda: shop.status(order), lambda status: status.address.address == "1000 Lake Dr.")
        await order.signal(OrderWorkflow.cancel_order)
        assert (await order.result()).state is OrderState.CANCELLED


async def test_unreadable_signals_are_logged_without_tracebacks(
    shop: Shop, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten thousand tracebacks would take longer than the 2 s that a worker gives a workflow."""
    order = await charged(shop, name)
    await send(order, *[("update_address", '{"x"'), ("cancel_order", "nul"), ("dispatch_failed", None)] * 100)
    with caplog.at_level(logging.WARNING, logger="temporalio"):
        async with shop.working("order"):
            await until(lambda: shop.nobody_is_at(order))
            assert (await shop.status(order)).step == "shipping"
            await order.signal(OrderWorkflow.cancel_order)
            await order.result()
    assert sum("malformed signal" in record.getMessage() for record in caplog.records) == 300
    assert [record for record in caplog.records if record.exc_info] == []


async def test_an_order_with_too_large_a_history_is_cancelled_and_refunded(shop: Shop, name: str) -> None:
    order = await charged(shop, name)
    enough = records.LARGEST_HISTORY // LARGE + 1
    assert await send(order, *[("no_such_signal", f'"{"x" * LARGE}"')] * enough) == enough
    async with shop.working("order"):
        result = await order.result()
    assert (result.state, result.reason) == (OrderState.CANCELLED, TOO_MUCH)
    assert shop.payments(name) == [("refunded", "5.00")]


async def test_an_order_with_too_long_a_history_is_cancelled_and_refunded(
    monkeypatch: pytest.MonkeyPatch, shop: Shop, name: str
) -> None:
    monkeypatch.setattr(records, "LONGEST_HISTORY", 200)
    order = await charged(shop, name)
    await send(order, *[("no_such_signal", None)] * 200)
    async with shop.working("order"):
        assert (await order.result()).reason == TOO_MUCH
    assert shop.payments(name) == [("refunded", "5.00")]


@pytest.mark.proof
async def test_after_dispatch_too_large_a_history_changes_nothing(shop: Shop, name: str) -> None:
    async with dispatched(shop, name) as order:
        await send(order, *[("no_such_signal", f'"{"x" * LARGE}"')] * (records.LARGEST_HISTORY // LARGE + 1))
    assert shop.payments(name) == [("charged", "5.00")]
    assert "late_signal" not in shop.events(name)


@pytest.mark.proof
async def test_our_server_refuses_messages_that_are_too_large(shop: Shop, name: str) -> None:
    order = await charged(shop, name)
    assert await send(order, *[("cancel_order", f'"{"x" * 1_900_000}"')] * 28) == 0
    async with shop.working("order"):
        await order.signal(OrderWorkflow.cancel_order)
        await order.result()


async def test_the_largest_allowed_update_does_not_delay_the_order(shop: Shop, name: str) -> None:
    async with shop.working("order"):
        order = await shop.start(name)
        await order.signal(OrderWorkflow.approve_order)
        await until(lambda: shop.status(order), lambda status: status.step == "shipping")
        with pytest.raises((RPCError, WorkflowUpdateFailedError)):
            await order.execute_update("change_address", "x" * 65_400)
        await order.signal(OrderWorkflow.cancel_order)
        assert (await order.result()).state is OrderState.CANCELLED
    assert shop.payments(name) == [("refunded", "5.00")]


# --- a server of somebody else, which has no limit of ours ------------------------------------------------------------


@pytest.fixture(scope="module")
def as_shipped() -> Iterator[Addresses]:
    settings = Settings(_env_file=None, temporal_host=None, database_url=None)
    with Stack(None, settings=settings, dynamic_config={}) as addresses:
        yield addresses


@pytest.fixture
async def elsewhere(as_shipped: Addresses) -> AsyncIterator[Shop]:
    url = as_shipped.database_url
    settings = Settings(temporal_host=as_shipped.temporal_host, database_url=SecretStr(url))
    env = WorkflowEnvironment.from_client(await connect_to_temporal(settings))
    async with open_shop(env, url) as shop:
        yield shop


@pytest.mark.proof
async def test_an_order_that_the_server_terminates_is_named_and_repaired(elsewhere: Shop, name: str) -> None:
    """30 messages of 1.9 MB, while no worker runs, exceed the 50 MiB at which Temporal terminates a workflow."""
    order = await charged(elsewhere, name)
    await send(order, *[("dispatch_failed", f'"{"x" * 1_900_000}"')] * 30, at_a_time=1)
    assert (await order.describe()).status is WorkflowExecutionStatus.TERMINATED
    assert elsewhere.payments(name) == [("charged", "5.00")]
    (violation,) = await compare_with_temporal(elsewhere.client, elsewhere.store.order_states)
    assert f"`order-lifecycle repair {name}`" in violation.detail
    async with elsewhere.working("order"):
        end = await repair(elsewhere.client, elsewhere.store, name)
    assert end is not None
    assert end.state is OrderState.CANCELLED
    assert elsewhere.payments(name) == [("refunded", "5.00")]
    elsewhere.started = [elsewhere.client.get_workflow_handle(order.id, result_type=OrderResult)]
    assert await compare_with_temporal(elsewhere.client, elsewhere.store.order_states) == []


@pytest.mark.proof
async def test_large_messages_do_not_delay_a_running_order(elsewhere: Shop, name: str) -> None:
    order = await charged(elsewhere, name)
    await send(order, *[("dispatch_failed", f'"{"x" * 1_900_000}"')] * 6, at_a_time=1)
    async with elsewhere.working("order"):
        assert (await order.result()).reason == TOO_MUCH
    assert elsewhere.payments(name) == [("refunded", "5.00")]


# --- and all of it at once ------------------------------------------------------------------------------------------


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("worker", ["away", "there"])
async def test_an_order_ends_in_spite_of_twenty_thousand_signals(shop: Shop, name: str, worker: str, size: str) -> None:
    filling = "x" * (LARGE if size == "large" else 1)
    four = [
        ("approve_order", f'"{filling}"' if size == "large" else None),
        ("update_address", address(1) if size == "small" else f'"{filling}"'),
        ("dispatch_failed", f'"{filling}"'),
        ("cancel_order", f'"{filling}"'),
    ]
    order = await charged(shop, name)
    if worker == "away":
        await send(order, *four * 5_000)
    async with shop.working("order"):
        if worker == "there":
            await send(order, *four * 5_000)
        with suppress(WorkflowFailureError):
            async with asyncio.timeout(300):
                await order.result()
    assert shop.row(name)["state"] == "cancelled"
    assert shop.payments(name) == [("refunded", "5.00")]
    assert len(shop.told("late_signal", name)) <= LATE_ONE_BY_ONE + 1
