"""A foreign client sends thousands of malformed signals, Updates, queries and starts: the order continues and ends."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage as Stage
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.update.v1 import Input, Meta, Request, WaitPolicy
from temporalio.api.workflowservice.v1 import (
    QueryWorkflowRequest,
    RequestCancelWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

from order_lifecycle.domain import Address, OrderState, Policy
from order_lifecycle.settings import Addresses
from order_lifecycle.workflows.order import ORDER_QUEUE, OrderWorkflow
from tests.support.hostile_input import CONTROL, GARBAGE, LONG, PLAIN_BUT_HOSTILE, TEXTS, UNREADABLE, of_json, payload
from tests.support.orders import an_order
from tests.support.repeats import everyday
from tests.support.shop import HAPPY_PATH, Shop
from tests.support.waiting import TIMEOUT, until

SIGNALS = ["approve_order", "cancel_order", "update_address", "dispatch_failed"]
UPDATES = ["approve", "cancel", "change_address"]
NO_NAMES = ["run", "status", "_close", "x" * 900, "'; DROP TABLE orders; --", "\x1b[31m", "苹果", "__init__"]
T = TypeVar("T")
HERE = Address(address="575 Lake Dr.", city="Columbus", state="OH", zipcode="43210")


@contextmanager
def suppress_too_large() -> Iterator[None]:
    try:
        yield
    except RPCError as error:
        if "Blob data size exceeds limit" not in error.message:
            raise


class Stranger:
    """A client that speaks the protocol and knows nothing of our models."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._service = client.workflow_service

    async def signal(self, workflow_id: str, name: str, *arguments: Payload) -> None:
        """Send a signal. Our own server refuses one that is too large."""
        with suppress_too_large():
            await self._signal(workflow_id, name, *arguments)

    async def _signal(self, workflow_id: str, name: str, *arguments: Payload) -> None:
        await self._service.signal_workflow_execution(
            SignalWorkflowExecutionRequest(
                namespace=self._client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=workflow_id),
                signal_name=name,
                input=Payloads(payloads=arguments),
                request_id=str(uuid.uuid4()),
            )
        )

    async def update(self, workflow_id: str, name: str, *arguments: Payload) -> str:
        """Send an Update, and return why it is refused, or "accepted"."""
        with suppress_too_large():
            return await self._update(workflow_id, name, *arguments)
        return "too large"

    async def _update(self, workflow_id: str, name: str, *arguments: Payload) -> str:
        answer = await self._service.update_workflow_execution(
            UpdateWorkflowExecutionRequest(
                namespace=self._client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=workflow_id),
                wait_policy=WaitPolicy(lifecycle_stage=Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED),
                request=Request(
                    meta=Meta(update_id=str(uuid.uuid4())),
                    input=Input(name=name, args=Payloads(payloads=arguments)),
                ),
            ),
            timeout=timedelta(seconds=10),
        )
        return answer.outcome.failure.message if answer.outcome.HasField("failure") else "accepted"

    async def query(self, workflow_id: str, name: str, *arguments: Payload) -> None:
        query = WorkflowQuery(query_type=name, query_args=Payloads(payloads=arguments))
        execution = WorkflowExecution(workflow_id=workflow_id)
        await self._service.query_workflow(
            QueryWorkflowRequest(namespace=self._client.namespace, execution=execution, query=query),
            timeout=timedelta(seconds=10),
        )

    async def start(self, workflow_id: str, workflow: str, queue: str, *arguments: Payload) -> None:
        await self._service.start_workflow_execution(
            StartWorkflowExecutionRequest(
                namespace=self._client.namespace,
                workflow_id=workflow_id,
                workflow_type=WorkflowType(name=workflow),
                task_queue=TaskQueue(name=queue),
                input=Payloads(payloads=arguments),
                request_id=str(uuid.uuid4()),
            )
        )


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[], AbstractContextManager[Addresses]], cache: int) -> Iterator[Addresses]:
    """Start a stack for each kind of cache, because their orders have the same IDs."""
    with new_stack() as addresses:
        yield addresses


@pytest.fixture
def stranger(shop: Shop) -> Stranger:
    return Stranger(shop.client)


async def at_once(number: int, calls: Iterable[Awaitable[T]]) -> list[T]:
    """Make all calls, at most `number` of them at a time, and return their answers."""
    places = asyncio.Semaphore(number)

    async def one(call: Awaitable[T]) -> T:
        async with places:
            return await call

    return await asyncio.gather(*(one(call) for call in calls))


def malformed(names: list[str], seed: int, more: int) -> list[tuple[str, list[Payload]]]:
    """Return malformed names and arguments.

    Each name comes with each piece of garbage. `more` others have any number of arguments, or a name that no handler
    has. The SDK drops arguments that a handler does not have. So an approval with an argument is valid, and so is a
    cancel whose first argument is text. Neither is in here.
    """
    draw = random.Random(seed)
    texts = [of_json(text) for text in TEXTS]
    found: list[tuple[str, list[Payload]]]
    found = [(name, []) for name in names if name in ("dispatch_failed", "update_address", "change_address")]
    for name in names:
        first = UNREADABLE if "approve" in name else GARBAGE if "cancel" in name else GARBAGE + texts
        found += [(name, [one]) for one in first]
        for _ in range(more):
            found.append((name, [draw.choice(first), *draw.choices(GARBAGE + texts, k=draw.choice([1, 2, 10]))]))
            found.append((draw.choice(NO_NAMES), draw.choices(GARBAGE + texts, k=draw.choice([0, 1, 2]))))
    draw.shuffle(found)
    return found


def events_of_note(shop: Shop, order_id: str) -> list[str]:
    """Return all events except those of late signals."""
    return [event for event in shop.events(order_id) if event != "late_signal"]


async def assert_no_task_failed(handle: WorkflowHandle[Any, Any]) -> None:
    """Check that no workflow task failed, because Temporal would retry it for ever and the order would be stuck.

    A task that the server interrupts, because too many signals came meanwhile, does not count.
    """
    failed = [
        event.workflow_task_failed_event_attributes
        for event in (await handle.fetch_history()).events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    ]
    interrupted = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND
    assert [why for why in failed if why.cause != interrupted] == []


# --- messages that make no sense -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", everyday("review", of=["review", "dispatch_carrier", "ship_order"]))
async def test_malformed_signals_and_updates_do_not_stop_an_order(shop: Shop, stranger: Stranger, wait: str) -> None:
    async with shop.working("order", "shipping"):
        order_id = f"malformed-{wait.replace('_', '-')}"
        order = await shop.start_until(wait, order_id)
        before = await shop.status(order), shop.row(order_id), shop.events(order_id)

        less = 5 if shop.remembers_nothing else 1  # each of these then replays all that were before it
        signals = malformed(SIGNALS, seed=len(wait), more=30)[::less]
        await at_once(50, (stranger.signal(order.id, name, *arguments) for name, arguments in signals))
        # The server lets ten Updates of an order be under way at once.
        updates = malformed(UPDATES, seed=len(wait), more=10)[:: 2 * less]
        answers = await at_once(8, (stranger.update(order.id, name, *arguments) for name, arguments in updates))
        assert [update for update, answer in zip(updates, answers, strict=True) if answer == "accepted"] == []

        status = await shop.status(order)
        assert status.model_copy(update={"errors": ()}) == before[0]
        assert (shop.row(order_id), events_of_note(shop, order_id)) == before[1:]
        assert len(status.model_dump_json()) < 20_000

        await order.signal(OrderWorkflow.approve_order)
        shop.outside.let_go()
        assert (await order.result()).state is OrderState.SHIPPED
        assert (await shop.status(order)).address == HERE
    assert events_of_note(shop, order_id) == HAPPY_PATH
    assert shop.told("carrier_dispatched", order_id) == [{"address": HERE.model_dump()}]
    assert shop.payments(order_id) == [("charged", "5.00")]
    await assert_no_task_failed(order)
    await assert_no_task_failed(shop.client.get_workflow_handle(f"ship-{order_id}-1"))


@pytest.mark.proof
async def test_malformed_messages_do_not_stop_a_child_workflow(shop: Shop, stranger: Stranger) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until("prepare_package", "malformed-child")
        child = "ship-malformed-child-1"
        signals = malformed([*SIGNALS, "prepare_package"], seed=1, more=10)
        await at_once(50, (stranger.signal(child, name, *arguments) for name, arguments in signals))
        updates = malformed(["cancel", "run"], seed=2, more=10)[::8]
        answers = await at_once(8, (stranger.update(child, name, *arguments) for name, arguments in updates))
        assert all("not found" in answer or answer == "too large" for answer in answers)
        shop.outside.let_go()
        assert (await order.result()).state is OrderState.SHIPPED
    await assert_no_task_failed(shop.client.get_workflow_handle(child))


async def test_malformed_queries_are_refused(shop: Shop, stranger: Stranger) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until("dispatch_carrier", "malformed-query")
        for asked in (order.id, "ship-malformed-query-1"):
            for argument in UNREADABLE:
                with pytest.raises(RPCError):
                    await stranger.query(asked, "status", argument)
            for name in NO_NAMES:
                if name != "status":
                    with pytest.raises(RPCError):
                        await stranger.query(asked, name, *GARBAGE[:2])
        assert (await shop.status(order)).step == "shipping"
        shop.outside.let_go()
        assert (await order.result()).state is OrderState.SHIPPED
    await assert_no_task_failed(order)


@pytest.mark.parametrize(
    "reference",
    [
        payload(b"{}", b"json/external-storage-reference"),
        payload(b"{}", b"json/plain", __temporal_external_storage_reference=b"true"),
    ],
    ids=["by its encoding", "by its mark"],
)
async def test_a_signal_with_an_external_payload_does_not_stop_an_order(
    shop: Shop, stranger: Stranger, reference: Payload
) -> None:
    """The payload refers to Temporal's external storage, which is not configured here."""
    async with shop.working("order", "shipping"):
        order = await shop.start_until("review", f"elsewhere-{len(reference.metadata)}")
        shop.started.clear()  # with that signal in it, a history cannot be replayed by the converter that tests use
        await stranger.signal(order.id, "no_such_signal", reference)
        await order.signal(OrderWorkflow.approve_order)
        try:
            async with asyncio.timeout(2):
                assert (await order.result()).state is OrderState.SHIPPED
        except TimeoutError:
            await order.terminate()  # so that the workers of another test do not find it
            raise


# --- orders that are none --------------------------------------------------------------------------------------------

ORDER = an_order("not-an-order").model_dump(mode="json")
POLICY = Policy().model_dump(mode="json")
ITEM = ORDER["items"][0]
NO_ORDERS: list[dict[str, Any]] = [
    {**ORDER, "id": "a/b"},
    {**ORDER, "id": "a\0b"},
    {**ORDER, "id": "x" * LONG},
    {**ORDER, "payment_id": None},
    {**ORDER, "items": []},
    {**ORDER, "items": [ITEM] * 101},
    {**ORDER, "items": [{**ITEM, "price": "NaN"}]},
    {**ORDER, "items": [{**ITEM, "price": "-1"}]},
    {**ORDER, "items": [{**ITEM, "qty": 10**30}]},
    {**ORDER, "items": [{**ITEM, "name": "a\0b"}]},
    {**ORDER, "address": None},
    {**ORDER, "more": 1},
]
NO_POLICIES: list[dict[str, Any]] = [
    {**POLICY, "review_timeout": "-P1D"},
    {**POLICY, "review_timeout": "P999999999D"},
    {**POLICY, "attempt_timeout": "-PT1S"},
    {**POLICY, "attempt_timeout": 0},
    {**POLICY, "retry_interval": "-PT1S"},
    {**POLICY, "retry_interval": "P1D"},
    {**POLICY, "budget": "-P1D"},
    {**POLICY, "budget": "P999999999D"},
    {**POLICY, "budget": "NaN"},
    {**POLICY, "shipping_tries": 0},
    {**POLICY, "shipping_tries": -1},
    {**POLICY, "shipping_tries": 10**30},
    {**POLICY, "more": 1},
]


async def test_a_workflow_started_with_a_malformed_order_fails(shop: Shop, stranger: Stranger) -> None:
    """A client may start the workflow directly, without our checks. That workflow fails and does nothing else."""
    order, policy = of_json(ORDER), of_json(POLICY)
    starts = [
        [],
        [order],
        [policy, order],
        [order, policy, policy],
        *([of_json(no_order), policy] for no_order in NO_ORDERS),
        *([order, of_json(no_policy)] for no_policy in NO_POLICIES),
        *([garbage, policy] for garbage in GARBAGE[::3]),
        *([order, garbage] for garbage in GARBAGE[1::3] if garbage != of_json({})),  # {}: the rules that are usual
    ]
    handles = []
    async with shop.working("order", "shipping"):
        for number, arguments in enumerate(starts):
            await stranger.start(f"no-order-{number}", "OrderWorkflow", ORDER_QUEUE, *arguments)
            handles.append(shop.client.get_workflow_handle(f"no-order-{number}"))
        async with asyncio.timeout(20):
            for number, handle in enumerate(handles):
                with pytest.raises(WorkflowFailureError):
                    await handle.result()
                assert (await handle.describe()).status is WorkflowExecutionStatus.FAILED, starts[number]
    assert [shop.store.rows(name) for name in ("orders", "payments", "events")] == [[], [], []]


# --- reasons ---------------------------------------------------------------------------------------------------------

# Whoever cancels says why, and the reason goes into the database, whose JSON has no NUL, and to people's terminals.
WAYS_TO_CANCEL = {"signal": "cancel_order", "update": "cancel"}
# As large as our own server takes them; tests/workflows/test_flood.py has larger ones, on a server as it is shipped.
REASONS = [*CONTROL, "", "x" * 60_000, "\0" * 10_000, "苹果" * 5_000]


@pytest.mark.parametrize("way", everyday("signal", of=WAYS_TO_CANCEL))
async def test_an_order_can_be_cancelled_for_any_reason(shop: Shop, stranger: Stranger, way: str) -> None:
    async with shop.working("order", "shipping"):
        for number, why in enumerate(REASONS):
            order_id = f"reason-{way}-{number}"
            order = await shop.start_until("review", order_id)
            send: Callable[..., Coroutine[object, object, object]] = getattr(stranger, way)
            sent = asyncio.create_task(send(order.id, WAYS_TO_CANCEL[way], of_json(why)))
            async with asyncio.timeout(TIMEOUT):
                assert (await order.result()).state is OrderState.CANCELLED
            await sent
            (told,) = shop.told("order_cancelled", order_id)
            assert told["reason"].isprintable()
            assert len(told["reason"]) <= 500
            assert (await shop.status(order)).reason == told["reason"]
            await assert_no_task_failed(order)


@pytest.mark.proof
async def test_a_hostile_reason_is_kept_as_it_is(shop: Shop) -> None:
    async with shop.working("order", "shipping"):
        for number, why in enumerate(PLAIN_BUT_HOSTILE):
            order = await shop.start_until("review", f"hostile-{number}")
            await order.signal(OrderWorkflow.cancel_order, why)
            assert (await order.result()).reason == why
            assert shop.told("order_cancelled", f"hostile-{number}") == [{"reason": why}]


@pytest.mark.proof
@pytest.mark.parametrize("why", ["a\0b", "x" * 60_000], ids=["NUL", "very long"])
async def test_a_hostile_dispatch_failed_signal_does_not_stop_an_order(
    shop: Shop, stranger: Stranger, why: str
) -> None:
    """A client sends it in place of the child workflow. The order remembers it, and later really fails."""
    order_id = f"dispatch-{len(why)}"
    shop.outside.refusals["prepare_package"] = 3
    async with shop.working("order", "shipping"):
        order = await shop.start_until("review", order_id)
        for number in range(1, 7):  # one by one: the server interrupts a task while too much arrives
            await stranger.signal(order.id, "dispatch_failed", of_json(why))
            await until(lambda: shop.status(order), lambda status: len(status.errors) == number)  # noqa: B023
        assert len((await shop.status(order)).model_dump_json()) < 20_000
        await order.signal(OrderWorkflow.approve_order)
        await until(lambda: shop.status(order), lambda status: status.state == OrderState.FAILED)
        with pytest.raises(WorkflowFailureError):
            await order.result()
    assert shop.payments(order_id) == [("refunded", "5.00")]


async def test_a_cancellation_by_temporal_may_have_any_reason(shop: Shop) -> None:
    async with shop.working("order", "shipping"):
        for number, why in enumerate(["a\0b", "x" * 1_000_000]):
            order = await shop.start_until("review", f"by-temporal-{number}")
            await shop.client.workflow_service.request_cancel_workflow_execution(
                RequestCancelWorkflowExecutionRequest(
                    namespace=shop.client.namespace,
                    workflow_execution=WorkflowExecution(workflow_id=order.id),
                    reason=why,
                )
            )
            with pytest.raises(WorkflowFailureError):
                await order.result()
            assert shop.row(f"by-temporal-{number}")["state"] == "cancelled"


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.proof
async def test_a_hostile_address_is_kept_as_it_is(shop: Shop) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until("review", "addresses")
        addresses = [
            Address(address=text, city=text[::-1], state=f"{number}{text}", zipcode=text)
            for number, text in enumerate(PLAIN_BUT_HOSTILE)
        ]
        for address in addresses:
            await order.signal(OrderWorkflow.update_address, address)
            await until(lambda: shop.status(order), lambda status: status.address == address)  # noqa: B023
        await order.signal(OrderWorkflow.approve_order)
        assert (await order.result()).state is OrderState.SHIPPED
        assert (await shop.status(order)).address == addresses[-1]
    assert shop.told("address_changed", "addresses") == [address.model_dump() for address in addresses]
    assert shop.told("carrier_dispatched", "addresses") == [{"address": addresses[-1].model_dump()}]
    assert shop.row("addresses")["address_json"] == addresses[-1].model_dump()
