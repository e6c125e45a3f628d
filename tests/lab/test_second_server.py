"""The second server that a notebook starts beside its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta

import psutil
import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from order_lifecycle import lab
from order_lifecycle.client import start_order
from order_lifecycle.domain import Address, Item, Order, OrderState, Policy
from order_lifecycle.lab.process import LabProcess
from order_lifecycle.lab.servers import LabServers
from order_lifecycle.waiting import block_until
from order_lifecycle.workflows.order import OrderWorkflow
from tests.support.repeats import in_proof

WAYS: dict[str, Callable[[LabProcess], object]] = {
    "its kernel is gone": lambda process: process._popen.stdin.close(),  # type: ignore[union-attr]
    "asked to": lambda process: os.kill(process.pid, signal.SIGTERM),
    "killed": lambda process: os.kill(process.pid, signal.SIGKILL),
}


@pytest.mark.parametrize(
    ("kind", "way"), [*in_proof(*(("time-skipping", way) for way in WAYS)), ("as-shipped", "killed")]
)
def test_a_second_server_leaves_nothing_behind(kind: str, way: str) -> None:
    process = LabProcess(kind, ["order_lifecycle.stack.second_server", kind])
    process.first_line(timeout=60)
    below = psutil.Process(process.pid).children(recursive=True)
    assert below
    assert os.getsid(process.pid) != os.getsid(0)  # an Interrupt of the kernel does not reach it
    WAYS[way](process)
    block_until(lambda: not process.alive, "it to end", 10)
    block_until(lambda: not any(each.is_running() for each in below), "its server to end", 10)


async def test_a_review_expires_when_three_days_are_skipped(lab_servers: LabServers) -> None:
    skipping = lab.time_skipping()
    worker = lab.start_worker("order", at=skipping)
    client = await Client.connect(skipping.temporal_host, data_converter=pydantic_data_converter)
    address = Address(address="575 Lake Dr.", city="Columbus", state="OH", zipcode="43210")
    order = Order(id="late", payment_id="p", items=[Item(name="apple", qty=1, price="2.50")], address=address)  # type: ignore[arg-type]
    handle = await start_order(client, order, Policy())
    before = await skipping.now()
    await lab.wait_for_state(handle, "awaiting_review")

    after = await skipping.skip(days=2, hours=23)
    assert timedelta(days=2, hours=23) <= after - before < timedelta(days=2, hours=23, minutes=5)
    assert (await handle.query(OrderWorkflow.status)).state is OrderState.AWAITING_REVIEW

    await skipping.skip(hours=1)
    result = await handle.result()
    assert (result.state, result.reason) == (OrderState.CANCELLED, "review expired")
    assert lab.state_of("late") == "cancelled"
    frame = (await lab.timeline(handle)).frame
    waited = frame[frame["kind"] == "wait"].iloc[0]
    assert waited["end"] - waited["start"] == pytest.approx(timedelta(days=3).total_seconds(), abs=1)
    worker.stop()
    skipping.stop()
    assert not skipping.process.alive


def test_an_unknown_kind_of_server_is_refused() -> None:
    process = LabProcess("none", ["order_lifecycle.stack.second_server", "none"])
    with pytest.raises(lab.LabError, match="KeyError: 'none'"):
        process.first_line(timeout=30)
