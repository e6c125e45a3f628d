"""What `status`, the Web UI and the log show of a running order."""

from __future__ import annotations

import logging
from contextlib import suppress

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowFailureError

from order_lifecycle.cli.report import Report, fetch_report
from order_lifecycle.workflows.order import OrderWorkflow
from tests.support.shop import Handle, Shop
from tests.support.waiting import until


async def seen(shop: Shop, number: int) -> Report:
    """Return the report as soon as a pending step is at that attempt and its last failure is known."""

    def true(report: Report) -> bool:
        return any(it.attempt >= number and (it.last_failure or number == 1) for it in report.pending)

    report: Report = await until(lambda: fetch_report(shop.client, "abc-001"), true)
    return report


async def end(shop: Shop, order: Handle) -> None:
    await order.signal(OrderWorkflow.cancel_order)
    shop.outside.let_go()
    with suppress(WorkflowFailureError):
        await order.result()


async def test_the_report_shows_attempts_and_the_last_failure(shop: Shop) -> None:
    shop.outside.errors["charge_payment"] = 1_000_000
    async with shop.working("order", "shipping"):
        order = await shop.start()
        await order.signal(OrderWorkflow.approve_order)
        report = await seen(shop, 3)
        (pending,) = report.pending
        assert f"attempt    charge_payment, number {pending.attempt}, last failure: charge_payment failed" in (
            report.as_text()
        )
        assert "step       charge_payment" in report.as_text()
        assert " left)" in report.as_text()  # of its budget
        await end(shop, order)


async def test_the_report_shows_the_tries_at_shipping(shop: Shop) -> None:
    shop.outside.refusals["prepare_package"] = 1
    async with shop.working("order", "shipping"):
        order = await shop.start_until("dispatch_carrier")
        text = (await seen(shop, 1)).as_text()
        assert "shipping   try 2" in text
        assert "failed     prepare_package: prepare_package failed" in text
        assert "attempt    dispatch_carrier, number 1" in text  # of the child
        assert "waits for  child workflow ship-abc-001-2, until " in text
        await end(shop, order)


async def words(order: Handle) -> str:
    """Return what the Web UI shows as the workflow's current details."""
    metadata = await order.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert isinstance(metadata, WorkflowMetadata)
    return metadata.current_details


async def test_the_web_ui_shows_the_state_in_words(shop: Shop) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until("review")
        assert await words(order) == "awaiting_review: review, waits for approve_order"
        assert await (await order.describe()).static_summary() == "order abc-001: 2 items, 5.00"
        await order.signal(OrderWorkflow.approve_order)
        await order.result()
        assert await words(order) == "shipped"
        cancelled = await shop.start_until("review", "abc-002")
        await cancelled.execute_update(OrderWorkflow.cancel, "too dear")
        await cancelled.result()
        assert await words(cancelled) == "cancelled: too dear"


async def test_the_web_ui_shows_the_state_after_a_late_cancel(shop: Shop) -> None:
    async with shop.working("order", "shipping"):
        order = await shop.start_until("dispatch_carrier")
        shop.outside.hold("close_order")
        shop.outside.hold("ship_order")
        await order.signal(OrderWorkflow.cancel_order, "too dear")
        await until(lambda: shop.outside.reached("close_order"))
        shop.outside.let_go("dispatch_carrier")
        await shop.until_event("abc-001", "carrier_dispatched")
        shop.outside.let_go("close_order")
        await until(lambda: shop.outside.reached("ship_order"))
        assert await words(order) == "dispatched: ship_order, waits for ship_order"
        assert (await shop.status(order)).reason is None
        shop.outside.let_go()
        await order.result()
        assert await words(order) == "shipped"


async def test_each_change_of_state_is_logged_once(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """This holds however often the history is replayed: a worker without a cache replays it for each task."""
    with caplog.at_level(logging.INFO):
        async with shop.working("order", "shipping"):
            order = await shop.start()
            await order.signal(OrderWorkflow.approve_order)
            await order.result()
    moves = [(it.before, it.after) for it in caplog.records if it.getMessage().startswith("order moved")]  # type: ignore[attr-defined]
    states = ["received", "awaiting_review", "approved", "charged", "dispatched", "shipped"]
    assert moves == list(zip([None, *states], states, strict=False))
