"""What the lab shows of orders, on a real stack with real workers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from itertools import pairwise

import pytest

from order_lifecycle import lab
from order_lifecycle.domain import EventType
from order_lifecycle.faults import Faults, OutsideError
from order_lifecycle.lab.process import LabProcess
from order_lifecycle.lab.servers import LabServers
from order_lifecycle.lab.views.tables import store
from order_lifecycle.workflows.order import OrderWorkflow
from tests.lab.starting import Start


@pytest.fixture(scope="module")
def order_worker(lab_servers: LabServers) -> Iterator[LabProcess]:
    worker = lab.start_worker("order")
    yield worker
    if worker.alive:
        worker.stop()


@pytest.fixture(scope="module")
def shipping_worker(lab_servers: LabServers) -> Iterator[LabProcess]:
    worker = lab.start_worker("shipping")
    yield worker
    worker.stop()


async def test_the_timeline_of_a_charged_order_shows_that_it_waits_for_shipping(
    order_worker: LabProcess, start: Start
) -> None:
    handle = await start("charged")
    await lab.wait_for_state(handle, "awaiting_review")
    await handle.signal(OrderWorkflow.approve_order)
    await lab.wait_for_state(handle, "charged")
    picture = await lab.timeline(handle)
    assert [(span.step, span.kind, span.outcome) for span in picture.spans] == [
        ("receive_order", "step", "ok"),
        ("validate_order", "step", "ok"),
        ("review deadline", "wait", "ended early"),
        ("approve_order", "signal", "ok"),
        ("approve_order", "step", "ok"),
        ("charge_payment", "step", "ok"),
        ("ship-charged-1", "child", "running"),
    ]
    assert picture.spans[-1].end is None
    assert picture.alt.endswith("child workflow ship-charged-1 (running).")
    assert isinstance(picture.data, bytes)
    assert picture.data.startswith(b"\x89PNG")
    await handle.signal(OrderWorkflow.cancel_order, "the test is over")
    await handle.result()
    assert not lab.check_shipped("charged", "7.50").ok
    assert lab.check_cancelled("charged", "the test is over").ok
    assert "The reason on record is 'the test is over'" in lab.check_cancelled("charged", "another").text


async def test_the_timeline_of_a_shipped_order_follows_its_history(
    order_worker: LabProcess, shipping_worker: LabProcess, start: Start
) -> None:
    handle = await start("shipped")
    await lab.wait_for_state(handle, "awaiting_review")
    assert "signal `approve_order`" in lab.check_shipped("shipped", "7.50").text
    await handle.signal(OrderWorkflow.approve_order)
    await handle.result()
    frame = (await lab.timeline(handle)).frame
    assert (frame["queued"] <= frame["start"]).all()
    assert (frame["start"] <= frame["end"]).all()
    assert not frame["end"].isna().any()
    steps = frame.query("kind == 'step'")
    assert all(before <= after for before, after in pairwise(steps["start"]))
    assert list(steps["step"])[-3:] == ["prepare_package", "dispatch_carrier", "ship_order"]
    child = frame.query("kind == 'child'").iloc[0]
    packed = frame.query("step == 'prepare_package'").iloc[0]
    assert child["start"] <= packed["start"] <= packed["end"] <= child["end"]

    assert lab.check_shipped("shipped", "7.50").ok
    assert "cost 7.50, not 9.00" in lab.check_shipped("shipped", "9.00").text
    assert "is shipped" in lab.check_cancelled("shipped", "why").text

    history = await lab.history(handle)
    assert history["event"].iloc[0] == "WorkflowExecutionStarted"
    assert history["event"].iloc[-1] == "WorkflowExecutionCompleted"
    assert not history["event"].str.startswith("WorkflowTask").any()
    assert len(await lab.history(handle, tasks=True)) > len(history)
    assert repr(lab.link(handle)).endswith("/namespaces/default/workflows/order-shipped")

    with pytest.raises(lab.LabError, match="has ended as shipped, so it will not be charged"):
        await lab.wait_for_state(handle, "charged")


async def test_the_tables_show_only_what_is_the_same_in_every_run(order_worker: LabProcess, start: Start) -> None:
    handle = await start("early")
    await lab.wait_for_state(handle, "awaiting_review")
    orders = lab.table("orders", "early")
    assert orders.to_dict("records") == [
        {
            "id": "early",
            "state": "awaiting_review",
            "items": "3 × apple at 2.50",
            "address_json": "575 Lake Dr., Columbus, OH, 43210",
        }
    ]
    assert list(lab.table("events", "early")["payload_json"]) == ["payment_id pay-early", "", ""]
    assert {"id", "ts", "step"} <= set(lab.table("events", "early", raw=True).columns)
    assert lab.table("payments", "early").empty
    await handle.signal(OrderWorkflow.cancel_order, "a mistake")
    await handle.result()
    assert "before it was charged" in lab.check_cancelled("early", "a mistake").text
    changed = lab.changes(orders, lab.table("orders", "early"))
    assert list(changed["change"]) == ["changed"]
    assert list(changed["state"]) == ["awaiting_review → cancelled"]
    assert lab.state_of("early") == "cancelled"


def works(seed: int, attempt: int) -> bool:
    with suppress(OutsideError):
        Faults(fail=0.5, seed=seed).call("order-failing", "validate_order", attempt, 1, lambda seconds: None)
        return True
    return False


async def test_a_timeline_shows_how_often_a_step_failed_and_why(
    lab_servers: LabServers, order_worker: LabProcess, start: Start
) -> None:
    order_worker.stop()
    # fails twice, and then works
    seed = next(seed for seed in range(1000) if [works(seed, attempt) for attempt in (1, 2, 3)] == [False, False, True])
    worker = lab.start_worker("order", lab.Faults(fail=0.5, seed=seed))
    handle = await start("failing")
    await lab.wait_for_state(handle, "awaiting_review")
    await handle.signal(OrderWorkflow.cancel_order)
    await handle.result()
    spans = (await lab.timeline(handle)).spans
    failed = [span for span in spans if span.kind == "retries"]
    assert ("validate_order", 2) in [(span.step, span.attempt) for span in failed]
    for span in failed:
        last = next(each for each in spans if each.step == span.step and each.kind == "step")
        assert last.attempt == span.attempt + 1
        assert span.note == f"{span.step} failed, attempt {span.attempt}"
        assert span.end == last.start
        assert not math.isclose(span.start, last.start)
    worker.stop()


async def test_the_check_of_the_refunds_names_each_mistake(lab_servers: LabServers) -> None:
    amounts = [row["amount"] for row in store().rows("payments")]
    refunded = sum(row["amount"] for row in store().rows("payments") if row["status"] == "refunded")
    assert amounts
    assert lab.check_refunds(refunded).ok
    assert "the sum of all charges" in lab.check_refunds(sum(amounts)).text
    assert "There is no answer yet" in lab.check_refunds(...).text
    assert "is not the sum of the refunds" in lab.check_refunds(Decimal(1)).text


def test_every_event_can_be_shown(lab_servers: LabServers) -> None:
    assert set(lab.table("events")["type"]) <= set(EventType)


def test_a_second_call_of_up_returns_the_running_servers(lab_servers: LabServers) -> None:
    assert lab.up() is lab_servers
    assert "Temporal at 127.0.0.1:" in repr(lab_servers)


async def test_the_doctor_finds_the_servers(lab_servers: LabServers) -> None:
    assert "ok       PostgreSQL" in await lab.doctor()


def test_a_worker_that_cannot_start_says_why(lab_servers: LabServers) -> None:
    with pytest.raises(lab.LabError, match="ended with exit status 2"):
        lab.start_worker("order", lab.Faults(fail=2))


def test_a_worker_that_has_ended_is_named(lab_servers: LabServers) -> None:
    worker = lab.start_worker("order")
    assert lab.check_running(worker).ok
    worker.kill()
    assert worker.status == -9
    assert "The order worker has ended" in lab.check_running(worker).text
