"""Cancel an order at each `await` of the workflows, in each way: it ends correctly and keeps no money.

conftest.py audits each order afterwards. The last test finds an `await` that has no case here.
"""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError, WorkflowUpdateHandle, WorkflowUpdateStage
from temporalio.exceptions import CancelledError

from order_lifecycle.domain import Address, OrderState, UpdateResult
from order_lifecycle.workflows import attempts as attempts_module
from order_lifecycle.workflows import handlers as handlers_module
from order_lifecycle.workflows import inner_task as inner_task_module
from order_lifecycle.workflows import order as order_module
from order_lifecycle.workflows import progress as progress_module
from order_lifecycle.workflows import records as records_module
from order_lifecycle.workflows import shipping as shipping_module
from order_lifecycle.workflows.order import OrderWorkflow
from order_lifecycle.workflows.records import LATE_ONE_BY_ONE
from tests.support.shop import Handle, Shop
from tests.support.waiting import TIMEOUT, until

ACCEPTED = WorkflowUpdateStage.ACCEPTED
ELSEWHERE = Address(address="5 Lake Dr.", city="Temp", state="AL", zipcode="43561")
WHY = "changed my mind"
BY_TEMPORAL = "the workflow was cancelled"


@dataclass
class Wait:
    """A place where an order waits, and the end of an order that is cancelled there."""

    reach: Callable[[Shop], AbstractAsyncContextManager[Handle]]  # an order that waits there; at the end it may go on
    workers: tuple[str, ...]
    end: str
    charged: bool


WAITS: dict[str, Wait] = {}


def wait(end: str, *workers: str, charged: bool = False) -> Callable[[Callable[[Shop], AsyncIterator[Handle]]], None]:
    """Add a case. `end`: "cancelled" (by this cancel), "cancelled before" (by an earlier one), "shipped", "failed"."""

    def add(reach: Callable[[Shop], AsyncIterator[Handle]]) -> None:
        WAITS[reach.__name__] = Wait(asynccontextmanager(reach), workers or ("order", "shipping"), end, charged)

    return add


# --- each wait -------------------------------------------------------------------------------------------------------


@wait("cancelled")
async def receive_order(shop: Shop) -> AsyncIterator[Handle]:
    yield await shop.start_until("receive_order")


@wait("cancelled")
async def address_before_received(shop: Shop) -> AsyncIterator[Handle]:
    """A change of address waits until there is an order to change."""
    order = await shop.start_until("receive_order")
    await order.signal(OrderWorkflow.update_address, ELSEWHERE)
    yield order


@wait("cancelled")
async def validate_order(shop: Shop) -> AsyncIterator[Handle]:
    yield await shop.start_until("validate_order")


@wait("cancelled")
async def review(shop: Shop) -> AsyncIterator[Handle]:
    yield await shop.start_until("review")


@wait("cancelled")
async def change_address(shop: Shop) -> AsyncIterator[Handle]:
    """A second change waits for the first."""
    order = await shop.start_until("review")
    with shop.place_taken("address_changed#1"):
        await order.signal(OrderWorkflow.update_address, ELSEWHERE)
        await order.start_update(OrderWorkflow.change_address, ELSEWHERE, wait_for_stage=ACCEPTED)
        await until(shop.somebody_waits)
        yield order


@wait("cancelled")
async def approve_order(shop: Shop) -> AsyncIterator[Handle]:
    order = await shop.start_until("review")
    with shop.place_taken("order_approved"):
        await order.signal(OrderWorkflow.approve_order)
        await until(shop.somebody_waits)
        yield order


@wait("cancelled")
async def charge_payment(shop: Shop) -> AsyncIterator[Handle]:
    yield await shop.start_until("charge_payment")


@wait("cancelled", charged=True)
async def address_before_shipping(shop: Shop) -> AsyncIterator[Handle]:
    """Shipping waits for a change of address that lost its database connection and is retried in 5 s."""
    shop.policy = shop.policy.model_copy(update={"retry_interval": timedelta(seconds=5)})
    order = await shop.start_until("charge_payment")
    with shop.place_taken("address_changed#1"):
        await order.signal(OrderWorkflow.update_address, ELSEWHERE)
        await until(shop.somebody_waits)
        with shop.store.engine.begin() as administrator:
            administrator.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            )
    shop.outside.let_go("charge_payment")
    await until(lambda: shop.status(order), lambda status: status.state is OrderState.CHARGED)
    assert (await shop.status(order)).step == "charge_payment"
    yield order


@wait("cancelled", charged=True)
async def prepare_package(shop: Shop) -> AsyncIterator[Handle]:
    yield await shop.start_until("prepare_package")


@wait("cancelled", charged=True)
async def dispatch_carrier(shop: Shop) -> AsyncIterator[Handle]:
    yield await shop.start_until("dispatch_carrier")


@wait("cancelled", "order", charged=True)
async def child_without_a_worker(shop: Shop) -> AsyncIterator[Handle]:
    order = await shop.start()
    await order.signal(OrderWorkflow.approve_order)
    await until(lambda: shop.status(order), lambda status: status.step == "shipping")
    yield order


@wait("cancelled", charged=True)
async def note_event_between_tries(shop: Shop) -> AsyncIterator[Handle]:
    shop.outside.refusals["dispatch_carrier"] = 1
    order = await shop.start_until("dispatch_carrier")
    with shop.place_taken("dispatch_failed#1"):
        shop.outside.let_go("dispatch_carrier")
        await until(shop.somebody_waits)
        yield order


@wait("cancelled", charged=True)
async def second_try(shop: Shop) -> AsyncIterator[Handle]:
    shop.outside.refusals["prepare_package"] = 1
    order = await shop.start_until("dispatch_carrier")
    assert (await shop.status(order)).shipping_tries == 2
    yield order


@wait("shipped")
async def ship_order(shop: Shop) -> AsyncIterator[Handle]:
    yield await shop.start_until("ship_order")
    shop.outside.let_go("ship_order")


@wait("shipped")
async def note_event_of_a_late_signal(shop: Shop) -> AsyncIterator[Handle]:
    order = await shop.start_until("ship_order")
    with shop.place_taken("late_signal#1"):
        await order.signal(OrderWorkflow.approve_order)
        await until(shop.somebody_waits)
        yield order
    shop.outside.let_go("ship_order")


@wait("shipped")
async def the_last_record(shop: Shop) -> AsyncIterator[Handle]:
    """The order is shipped. It only has to record a late signal."""
    order = await shop.start_until("ship_order")
    with shop.place_taken("late_signal#1"):
        await order.signal(OrderWorkflow.approve_order)
        await until(shop.somebody_waits)
        shop.outside.let_go("ship_order")
        await until(lambda: shop.status(order), lambda status: status.state is OrderState.SHIPPED)
        yield order


@wait("shipped")
async def count_of_late_signals(shop: Shop) -> AsyncIterator[Handle]:
    """The order is shipped. It only has to record the number of the other late signals."""
    order = await shop.start_until("ship_order")
    for _ in range(LATE_ONE_BY_ONE + 1):
        await order.signal(OrderWorkflow.approve_order)
    await until(lambda: len(shop.told("late_signal")) == LATE_ONE_BY_ONE)
    with shop.place_taken(f"late_signal#{LATE_ONE_BY_ONE + 1}"):
        shop.outside.let_go("ship_order")
        await until(shop.somebody_waits)
        yield order


@wait("cancelled before")
async def late_signal_before_received(shop: Shop) -> AsyncIterator[Handle]:
    order = await shop.start_until("receive_order")
    shop.outside.hold("close_order")
    await order.signal(OrderWorkflow.cancel_order, "before")
    await until(lambda: shop.outside.reached("close_order"))
    await order.signal(OrderWorkflow.approve_order)
    await until(lambda: shop.nobody_is_at(order))
    yield order
    shop.outside.let_go("close_order")


@wait("cancelled before", charged=True)
async def close_order_for_an_update(shop: Shop) -> AsyncIterator[Handle]:
    order = await shop.start_until("prepare_package")
    shop.outside.hold("close_order")
    await order.start_update(OrderWorkflow.cancel, "before", wait_for_stage=ACCEPTED)
    await until(lambda: shop.outside.reached("close_order"))
    yield order
    shop.outside.let_go("close_order")


@wait("cancelled before", charged=True)
async def close_order_for_temporal(shop: Shop) -> AsyncIterator[Handle]:
    order = await shop.start_until("prepare_package")
    shop.outside.hold("close_order")
    await order.cancel()
    await until(lambda: shop.outside.reached("close_order"))
    yield order
    shop.outside.let_go("close_order")


@wait("failed", charged=True)
async def close_order_for_a_failure(shop: Shop) -> AsyncIterator[Handle]:
    shop.outside.refusals["prepare_package"] = 3
    yield await shop.start_until("close_order")
    shop.outside.let_go("close_order")


@wait("shipped", "order activities", "shipping")
async def note_event_of_a_cancel_at_the_very_end(shop: Shop) -> AsyncIterator[Handle]:
    """The workflow learns of a cancel and of the last step's end at once, because its worker was away."""
    async with shop.working("order workflows"):
        order = await shop.start_until("ship_order")
    await order.cancel()
    # The test server may still hold a poll of the worker that is gone, and hands this task to it; after 10 s the task
    # waits again. Were the step to end before that, the server would forget the task: see conftest.py.
    await until(lambda: shop.task_waits(order))
    shop.outside.let_go("ship_order")
    await until(order.describe, lambda described: not described.raw_description.pending_activities)
    async with shop.working("order workflows"):
        with shop.place_taken("late_signal#1"):
            await until(shop.somebody_waits)
            yield order
        await order.result()


async def beaten_by_the_carrier(shop: Shop) -> Handle:
    order = await shop.start_until("dispatch_carrier")
    shop.outside.hold("close_order")
    await order.signal(OrderWorkflow.cancel_order, "before")
    await until(lambda: shop.outside.reached("close_order"))
    shop.outside.let_go("dispatch_carrier")
    await shop.until_event("abc-001", "carrier_dispatched")
    return order


@wait("shipped")
async def note_event_of_a_cancel_that_was_too_late(shop: Shop) -> AsyncIterator[Handle]:
    order = await beaten_by_the_carrier(shop)
    with shop.place_taken("late_signal#1"):
        shop.outside.let_go("close_order")
        await until(shop.somebody_waits)
        yield order


@wait("shipped")
async def ship_order_after_a_cancel_that_was_too_late(shop: Shop) -> AsyncIterator[Handle]:
    order = await beaten_by_the_carrier(shop)
    shop.outside.hold("ship_order")
    shop.outside.let_go("close_order")
    await until(lambda: shop.outside.reached("ship_order"))
    yield order
    shop.outside.let_go("ship_order")


# --- each way to cancel ----------------------------------------------------------------------------------------------

Way = Callable[[Handle], Coroutine[Any, Any, WorkflowUpdateHandle[UpdateResult] | None]]


async def by_signal(order: Handle) -> None:
    await order.signal(OrderWorkflow.cancel_order, WHY)


async def by_update(order: Handle) -> WorkflowUpdateHandle[UpdateResult]:
    return await order.start_update(OrderWorkflow.cancel, WHY, wait_for_stage=ACCEPTED)


async def by_temporal(order: Handle) -> None:
    await order.cancel()


async def answer(update: WorkflowUpdateHandle[UpdateResult]) -> str:
    try:
        return (await update.result()).message
    except WorkflowUpdateFailedError as refused:
        return str(getattr(refused.cause, "message", refused.cause))


async def arrived(order: Handle) -> bool:
    """Return True if the workflow has received everything that was sent to it."""
    kinds = [event.WhichOneof("attributes") or "" for event in (await order.fetch_history()).events]
    last = {kind.removesuffix("_event_attributes"): number for number, kind in enumerate(kinds)}
    sent = max(last.get(kind, 0) for kind in ("workflow_execution_signaled", "workflow_execution_cancel_requested"))
    return last["workflow_task_completed"] > sent


async def end_of(order: Handle) -> str:
    try:
        result = await order.result()
    except WorkflowFailureError as failure:
        return "cancelled by Temporal" if isinstance(failure.cause, CancelledError) else "failed"
    return f"{result.state}: {result.reason}" if result.reason else str(result.state)


ENDS: dict[tuple[str, Way], str] = {
    ("cancelled", by_signal): f"cancelled: {WHY}",
    ("cancelled", by_update): f"cancelled: {WHY}",
    ("cancelled before", by_signal): "cancelled: before",
    ("cancelled before", by_update): "cancelled: before",
}
ANSWERS = {
    "cancelled": f"cancelled: {WHY}",
    "cancelled before": "already being cancelled",
    "shipped": r"too late to cancel: order abc-001 is (dispatched|shipped)",
    "failed": "too late to cancel: order abc-001 is failed",
}


WAYS: tuple[Way, ...] = (by_signal, by_update, by_temporal)
# One for each end, charged or not.
IN_EVERY_WAY = ("review", "prepare_package", "ship_order", "close_order_for_an_update", "close_order_for_a_failure")


def cancels() -> Iterator[Any]:
    """Yield each place with each way to cancel, with and without a worker's cache.

    `make test` tries each place once, with the three ways in turns, and each of IN_EVERY_WAY with all of them. Where a
    worker stops, there is no cache: the test server does not notice that the cache is gone.
    """
    for number, (place, at) in enumerate(WAITS.items()):
        caches = [1000, 0] if "order" in at.workers else [0]
        for cancel in WAYS:
            for cache in caches:
                repeats = cache != caches[0] or (cancel is not WAYS[number % 3] and place not in IN_EVERY_WAY)
                marks = [pytest.mark.proof] if repeats else []
                name = f"{place}-{cancel.__name__}-{'replayed' if cache == 0 else 'cached'}"
                yield pytest.param(place, cancel, cache, id=name, marks=marks)


@pytest.mark.parametrize(("place", "cancel", "cache"), [*cancels()])
async def test_a_cancel_at_each_await_ends_the_order_correctly(shop: Shop, place: str, cancel: Way) -> None:
    at = WAITS[place]
    async with shop.working(*at.workers):
        async with at.reach(shop) as order:
            asked = await cancel(order)
            await until(lambda: arrived(order))
        # A step of before the cancel that hangs still hangs, for an hour: it keeps no order from its end.
        async with asyncio.timeout(TIMEOUT):
            end = await end_of(order)
        if asked:
            assert re.fullmatch(ANSWERS[at.end], await answer(asked))
        before = shop.row(), shop.payments(), shop.events()
    # Now it has run to its end.
    assert (shop.row(), shop.payments(), shop.events()) == before

    state = at.end.split()[0]
    by_temporal_at_last = state == "cancelled" and (cancel is by_temporal or place == "close_order_for_temporal")
    assert end == ("cancelled by Temporal" if by_temporal_at_last else ENDS.get((at.end, cancel), state))
    assert shop.row()["state"] == state
    assert (
        shop.payments()
        == {
            "shipped": [("charged", "5.00")],
            "cancelled": [("refunded", "5.00")] if at.charged else [],
            "failed": [("refunded", "5.00")],
        }[state]
    )
    if state == "shipped":
        on_record = cancel is by_signal and place != "count_of_late_signals"  # there it is one of a number
        assert ({"reason": "cancel_order"} in shop.told("late_signal")) == on_record
    if at.end == "cancelled":
        assert shop.told("order_cancelled") == [{"reason": BY_TEMPORAL if cancel is by_temporal else WHY}]


# --- and no wait is forgotten ----------------------------------------------------------------------------------------

# Each await in the source of the workflows, with a place above where it is what the order waits in.
AWAITS = {
    "run: run_to_completion": "the_last_record",
    "run_to_completion: wait_condition done": "the_last_record",
    "_process: _fulfil_or_compensate": "receive_order",
    "_process: wait_condition": "the_last_record",
    "_fulfil_or_compensate: wait_condition": "receive_order",
    "_fulfil_or_compensate: _compensate CANCELLED": "close_order_for_an_update",
    "_fulfil_or_compensate: _compensate FAILED": "close_order_for_a_failure",
    "_fulfil: _advance receive_order": "receive_order",
    "_fulfil: _advance validate_order": "validate_order",
    "_fulfil: _review": "review",
    "_fulfil: _advance approve_order": "approve_order",
    "_fulfil: _advance charge_payment": "charge_payment",
    "_fulfil: wait_condition": "address_before_shipping",
    "_fulfil: _ship": "prepare_package",
    "_fulfil: _advance ship_order": "ship_order",
    "_review: wait_condition": "review",
    "_ship: _try_shipping": "second_try",
    "_ship: note DISPATCH_FAILED": "note_event_between_tries",
    "_try_shipping: execute_child_workflow run": "child_without_a_worker",
    "_compensate: retry_forever close_order": "close_order_for_temporal",
    "_compensate: _finish_shipping": "ship_order_after_a_cancel_that_was_too_late",
    "_finish_shipping: wait_condition": "note_event_of_a_cancel_that_was_too_late",
    "_finish_shipping: retry_forever ship_order": "ship_order_after_a_cancel_that_was_too_late",
    "_advance: execute": "receive_order",
    "cancel: wait_condition": "close_order_for_an_update",
    "change_address: wait_condition": "change_address",
    "keep: wait_condition": "late_signal_before_received",
    "keep: _change_address": "change_address",
    "keep: _note_late": "note_event_of_a_late_signal",
    "_note_late: note LATE_SIGNAL": "note_event_of_a_late_signal",
    "note: retry_forever note_event": "note_event_between_tries",
    "_change_address: execute change_address": "change_address",
    "execute: execute_activity __name__": "receive_order",
    "retry_forever: execute": "close_order_for_temporal",
    "ShippingWorkflow.run: _run_step prepare_package": "prepare_package",
    "ShippingWorkflow.run: _run_step dispatch_carrier": "dispatch_carrier",
    "_run_step: execute": "prepare_package",
}
# What takes no time: what is done already, and what the server itself answers.
AT_ONCE = {
    *("run_to_completion: task", "_fulfil_or_compensate: fulfilment"),
    *("ShippingWorkflow.run: _tell_parent", "_tell_parent: signal"),
}


def test_every_await_of_the_workflows_has_a_case() -> None:
    modules = (order_module, records_module, attempts_module, handlers_module, inner_task_module, progress_module)
    orders = [wait for module in modules for wait in awaits(module.__file__)]
    found = [*orders, *awaits(shipping_module.__file__, "ShippingWorkflow.")]
    assert sorted(found) == sorted([*AWAITS, *AT_ONCE])
    assert set(AWAITS.values()) <= set(WAITS)


def awaits(file: str | None, prefix: str = "") -> Iterator[str]:
    """Yield each await as "function: awaited call", with the name of the activity. `run` gets the prefix."""
    assert file
    for function in ast.walk(ast.parse(Path(file).read_text())):
        if not isinstance(function, ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            awaited = [node.value] if isinstance(node, ast.Await) else []
            if isinstance(node, ast.AsyncWith):
                awaited = [item.context_expr for item in node.items]
            for it in awaited:
                words = [it]
                if isinstance(it, ast.Call):
                    words = [it.func, *(word for word in it.args[:1] if isinstance(word, ast.Attribute))]
                names = [ast.unparse(word).rpartition(".")[2] for word in words]
                yield f"{prefix if function.name == 'run' else ''}{function.name}: {' '.join(names)}"
