"""Every attempt of a step, as the workers log it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from order_lifecycle import lab
from order_lifecycle.lab.process import LabProcess
from order_lifecycle.lab.servers import LabServers
from order_lifecycle.workflows.order import OrderWorkflow
from tests.lab.starting import Start

# With this seed, this order's outside world fails and hangs like this.
UNLUCKY = lab.Faults(fail=0.3, hang=0.3, seed=130)
FAILED = [
    ("order-unlucky", "receive_order", 1, "timed out", "OutsideTimeoutError"),
    ("order-unlucky", "receive_order", 2, "timed out", "OutsideTimeoutError"),
    ("order-unlucky", "charge_payment", 1, "failed", "OutsideError"),
    ("order-unlucky", "charge_payment", 2, "failed", "OutsideError"),
    ("order-unlucky", "charge_payment", 3, "timed out", "OutsideTimeoutError"),
    ("ship-unlucky-1", "prepare_package", 1, "timed out", "OutsideTimeoutError"),
    ("ship-unlucky-1", "dispatch_carrier", 1, "failed", "OutsideError"),
    ("order-unlucky", "ship_order", 1, "failed", "OutsideError"),
]


@pytest.fixture(scope="module")
def workers(lab_servers: LabServers) -> Iterator[list[LabProcess]]:
    both = list(lab.start_workers(UNLUCKY))
    yield both
    for worker in both:
        if worker.alive:
            worker.stop()


async def test_each_failed_attempt_is_drawn_at_its_time(workers: list[LabProcess], start: Start) -> None:
    handle = await start("unlucky")
    await handle.signal(OrderWorkflow.approve_order)
    await handle.result()

    told = lab.attempts(*workers)
    assert list(told.drop(columns="took").itertuples(index=False, name=None)) == FAILED
    assert told[told["outcome"] == "timed out"]["took"].between(0.4, 3).all()
    assert told[told["outcome"] == "failed"]["took"].between(0, 0.3).all()

    picture = await lab.timeline(handle, *workers)
    drawn = [span for span in picture.spans if span.kind == "attempt"]
    assert [(each.workflow_id, each.step, each.attempt, each.outcome) for each in drawn] == [row[:4] for row in FAILED]
    for span, took in zip(drawn, told["took"], strict=True):
        assert span.end is not None
        assert span.end - span.start == pytest.approx(took)
        last = next(each for each in picture.spans if each.step == span.step and each.kind == "step")
        assert last.attempt > span.attempt
        assert span.end <= last.start
    assert "charge_payment attempt 2 failed; charge_payment attempt 3 timed out; charge_payment;" in picture.alt

    without = await lab.timeline(handle)
    assert "charge_payment failed 3 times; charge_payment;" in without.alt
    assert {span.kind for span in without.spans} == {"step", "retries", "child", "signal"}


async def test_attempts_without_a_log_are_drawn_from_the_history(workers: list[LabProcess], start: Start) -> None:
    _, shipping_worker = workers
    handle = await start("unlucky-too")
    await handle.signal(OrderWorkflow.approve_order)
    await handle.result()
    everything = await lab.timeline(handle, *workers)
    without = await lab.timeline(handle, shipping_worker)
    mine = {span.step for span in everything.spans if span.kind == "attempt" and span.workflow_id == handle.id}
    assert mine
    assert {span.step for span in without.spans if span.kind == "retries"} == mine
    assert not [span for span in everything.spans if span.kind == "retries"]
